//! The hosts of a file that is read while skd serves, looked up beside the loop: a name server that does not answer keeps
//! nobody waiting.

use crate::listen::Hosts;
use crate::sys::errno::Errno;
use crate::sys::poll::{Poll, Watch};
use crate::sys::{fork, names};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One look-up of all names at once, in a thread that ends with it.
pub(super) struct Lookup {
    answer: Arc<Mutex<Hosts>>,
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
        let answer = Arc::default();
        let found = Arc::clone(&answer);
        let look_up = move || {
            for name in names {
                let addresses = names::addresses_of_host(&name);
                lock(&found).insert(name, addresses);
            }
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
        Rc::new(std::mem::take(&mut *lock(&self.answer)))
    }
}

fn lock(hosts: &Mutex<Hosts>) -> MutexGuard<'_, Hosts> {
    hosts.lock().unwrap_or_else(PoisonError::into_inner)
}
