//! The hosts of a file that is read while skd serves, looked up beside the loop: a name server that does not answer keeps
//! nobody waiting.

use crate::listen::Hosts;
use crate::sys::errno::Errno;
use crate::sys::poll::{Poll, Watch};
use crate::sys::{fork, names};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};

/// One look-up of all names at once, in a thread that ends with it.
pub(super) struct Lookup {
    answer: Receiver<Hosts>,
    /// Readable when the thread has ended.
    end: OwnedFd,
}

impl Lookup {
    /// `token` is ready when all is known.
    ///
    /// # Errors
    /// There is no descriptor or no thread to be had.
    pub(super) fn begin(names: Vec<String>, poll: &Poll, token: u64) -> Result<Self, Errno> {
        let (end, held) = fork::pipe()?;
        let (sender, answer) = channel();
        let look_up = move || {
            let look_up = |name: String| {
                let addresses = names::addresses_of_host(&name);
                (name, addresses)
            };
            // skd may have gone on without it.
            let _ = sender.send(names.into_iter().map(look_up).collect());
            drop(held);
        };
        poll.add(&end, token, Watch::Alone)?;
        let spawned = std::thread::Builder::new().spawn(look_up);
        spawned.map_err(|error| Errno::of(&error))?;
        Ok(Self { answer, end })
    }

    /// What has been found; a name that is not there was not asked for.
    pub(super) fn finish(self, poll: &Poll) -> Rc<Hosts> {
        let _ = poll.remove(&self.end);
        Rc::new(self.answer.try_recv().unwrap_or_default())
    }
}
