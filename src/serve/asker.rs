//! Connections for which names are looked up first. A process of its own does that, decides by what it has found, tells
//! us, and becomes PROG: nobody else waits for an answer.

use crate::admit::policy::Policy;
use crate::admit::rules::Variable;
use crate::launch::additions;
use crate::launch::lookup::{self, Asked, Names};
use crate::listen::accept::Local;
use crate::model::address::Place;
use crate::model::event::Trouble;
use crate::model::peer::PeerFacts;
use crate::model::state::Stage;
use crate::report::ending::How;
use crate::serve::children::{Child, how_of};
use crate::serve::entrance::Runs;
use crate::serve::gate::Lookups;
use crate::serve::guest::Guest;
use crate::serve::starter::NOT_EXECUTED;
use crate::serve::{Server, VERDICTS};
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::handover::Keeper;
use crate::sys::hold::Turn;
use crate::sys::poll::{Poll, Watch};
use crate::sys::process::Status;
use crate::sys::{fd, process, signal, socket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// No verdict is longer, in bytes.
const VERDICT_BYTES: usize = 1024;

/// The socket on which those who ask tell what they have decided; made for the first of them.
#[derive(Default)]
pub(crate) struct Verdicts(Option<Ends>);

struct Ends {
    ours: OwnedFd,
    theirs: OwnedFd,
}

/// What one of them tells: `PID allow`, `PID deny REASON`, `PID failed REASON`, `PID wanting REASON`.
enum Verdict<'a> {
    Allowed,
    Denied(&'a str),
    /// PROG could not be executed, and why.
    Failed(&'a str),
    /// The same for want of a process.
    Wanting(&'a str),
}

impl Verdicts {
    /// What a new skd in our place needs in order to hear them.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Option<(i32, i32)>, Errno> {
        let keep = |ends: &Ends| Ok((keeper.keep(&ends.ours)?, keeper.keep(&ends.theirs)?));
        self.0.as_ref().map(keep).transpose()
    }

    /// The end for those who tell, which is made for the first of them.
    ///
    /// # Errors
    /// No descriptor could be had.
    pub(super) fn open(&mut self, poll: &Poll) -> Result<&OwnedFd, Errno> {
        if self.0.is_none() {
            self.hear_on(poll, socket::pair()?)?;
        }
        self.0.as_ref().map(|it| &it.theirs).ok_or(Errno::NOT_FOUND)
    }

    fn hear_on(&mut self, poll: &Poll, (ours, theirs): (OwnedFd, OwnedFd)) -> Result<(), Errno> {
        poll.add(&ours, VERDICTS, Watch::Alone)?;
        self.0 = Some(Ends { ours, theirs });
        Ok(())
    }
}

/// Why a process has not become PROG.
pub(super) struct Failure {
    reason: String,
    is_for_want: bool,
}

impl Failure {
    pub(super) fn of(errno: Errno, reason: String) -> Self {
        Self {
            reason,
            is_for_want: errno.is_want_of_process(),
        }
    }

    /// Of something else than the want of a process.
    pub(super) fn other(reason: String) -> Self {
        Self {
            reason,
            is_for_want: false,
        }
    }

    pub(super) fn tell(&self, to: impl AsFd) {
        let verdict = match self.is_for_want {
            true => Verdict::Wanting(&self.reason),
            false => Verdict::Failed(&self.reason),
        };
        verdict.tell(to);
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::of(errno, errno.to_string())
    }
}

impl<'a> Verdict<'a> {
    fn read(text: &'a str) -> Option<(i32, Self)> {
        let (pid, rest) = text.split_once(' ')?;
        let verdict = match rest.split_once(' ') {
            None if rest == "allow" => Self::Allowed,
            Some(("deny", reason)) => Self::Denied(reason),
            Some(("failed", reason)) => Self::Failed(reason),
            Some(("wanting", reason)) => Self::Wanting(reason),
            _ => return None,
        };
        Some((pid.parse().ok()?, verdict))
    }

    fn tell(&self, to: impl AsFd) {
        let pid = process::own_pid();
        let mut text = match self {
            Self::Allowed => format!("{pid} allow"),
            Self::Denied(reason) => format!("{pid} deny {reason}"),
            Self::Failed(reason) => format!("{pid} failed {reason}"),
            Self::Wanting(reason) => format!("{pid} wanting {reason}"),
        };
        text.truncate(text.floor_char_boundary(VERDICT_BYTES));
        // If nobody hears it any more we end as any child does.
        let _ = socket::send_whole(to, text.as_bytes());
    }
}

impl Server {
    /// Starts the process of a connection that may come in as far as is known without names. Returns whether there was
    /// one to be had.
    pub(super) fn launch_asker(
        &mut self,
        place: usize,
        guest: Guest,
        number: u32,
        policy: &Policy,
    ) -> bool {
        let opened = self.starter.verdicts.open(&self.poll).map(drop);
        let is_unix = guest.arrival.conn.may_bring_files();
        let turn = is_unix.then(|| self.starter.hold.take());
        let forked = opened.and_then(|()| fork::fork());
        match forked {
            Ok(Side::Parent { pid }) => {
                let who = guest.leave();
                self.starter.hold.release();
                self.adopt_child(place, Some(who), pid, Stage::Asking);
                true
            }
            Ok(Side::Child) => {
                turn.into_iter().for_each(Turn::wait);
                // Nothing of skd's is undone here: what it owns is the parent's.
                self.ask(place, &guest, number, policy);
                fork::leave(NOT_EXECUTED)
            }
            Err(errno) => {
                self.tallies.accept(place);
                self.no_process(place, guest.source, errno)
            }
        }
    }

    /// Those of the skd before us.
    pub(super) fn resume_verdicts(&mut self, (ours, theirs): (i32, i32)) -> Result<(), Errno> {
        let ends = (fd::resume(ours)?, fd::resume(theirs)?);
        self.starter.verdicts.hear_on(&self.poll, ends)
    }

    /// What the process does; it returns when it does not become PROG.
    fn ask(&self, place: usize, guest: &Guest, number: u32, policy: &Policy) {
        let Some(Ends { theirs, .. }) = &self.starter.verdicts.0 else {
            return;
        };
        let (Some(listening), Some(served)) =
            (self.listeners.get(place), self.entrances.served(place))
        else {
            return;
        };
        let Runs::Program(program) = &served.runs else {
            return;
        };
        let conn = guest.arrival.conn.as_fd();
        let stderr = served.service.stderr_to_client;
        let kept = take_over(conn, stderr, theirs);
        if let Err(errno) = kept {
            return Failure::from(errno).tell(theirs);
        }
        let mut more = Vec::new();
        guest.describe(
            &listening.listener.place,
            number,
            &served.service.proto,
            &mut more,
        );
        match decide(
            guest,
            &listening.listener.place,
            self.gate.lookups,
            policy,
            &mut more,
        ) {
            Some(reason) => Verdict::Denied(&reason).tell(theirs),
            None => {
                Verdict::Allowed.tell(theirs);
                let failure = self.starter.become_prog(&served, program, &more);
                failure.tell(theirs);
            }
        }
    }

    /// Hears what those who ask have decided.
    pub(super) fn hear_verdicts(&mut self) {
        let mut bytes = [0; VERDICT_BYTES];
        while let Some(Ends { ours, .. }) = &self.starter.verdicts.0
            && let Ok(len) = socket::hear(ours, &mut bytes)
        {
            let text = bytes.get(..len).unwrap_or_default();
            let text = std::str::from_utf8(text).unwrap_or_default();
            if let Some((pid, verdict)) = Verdict::read(text)
                && let Some(child) = self.children.get(pid)
            {
                self.take_verdict(pid, child, &verdict);
            }
        }
    }

    fn take_verdict(&mut self, pid: i32, child: Child, verdict: &Verdict<'_>) {
        let place = child.listener as usize;
        if !matches!(child.stage, Stage::Asking | Stage::Running) {
            return;
        }
        match (verdict, &child.peer) {
            (Verdict::Allowed, Some(peer)) => {
                self.children.set_stage(pid, Stage::Running);
                self.tallies.accept(place);
                self.notices.changed();
                self.tell_accept(place, peer, pid);
            }
            (Verdict::Denied(reason), Some(peer)) => {
                self.children.set_stage(pid, Stage::Denied);
                self.deny(place, peer, || (*reason).to_owned());
            }
            // Nobody has asked about a datagram or a listener.
            (Verdict::Allowed | Verdict::Denied(_), None) => {}
            (Verdict::Failed(reason) | Verdict::Wanting(reason), _) => {
                let is_for_want = matches!(verdict, Verdict::Wanting(_));
                self.tell_failure(place, &child, (reason, is_for_want));
                if child.stage == Stage::Asking {
                    // It has been told why.
                    self.children.set_stage(pid, Stage::Denied);
                    self.tallies.accept(place);
                }
            }
        }
    }

    /// Whether a child that has ended was ever PROG, as far as anybody was told; what it has not told itself is told here.
    pub(super) fn has_started(&mut self, place: usize, child: &Child, status: Status) -> bool {
        if let (Stage::Asking, Some(peer), true) =
            (child.stage, &child.peer, self.stopping.is_some())
        {
            // Whoever ended it, it is not for want of anything.
            self.deny(place, peer, || "stopping".into());
        } else if child.stage == Stage::Asking {
            self.tallies.accept(place);
            self.tallies.fail(place);
            let how = How(how_of(status));
            let text = format!("{how} while names were looked up, closing the connection");
            self.warn(Trouble::Execute, Some(place), text);
        }
        child.stage == Stage::Running
    }
}

/// Makes the process one like every child: signals, and of descriptors the connection on 0 and 1 (and 2), besides those
/// of skd's that are open in it until it is PROG, which is the socket for the verdict and nothing else: a client that skd
/// lets go is not to be held here.
pub(super) fn take_over(
    conn: std::os::fd::BorrowedFd<'_>,
    stderr: bool,
    verdicts: &OwnedFd,
) -> Result<(), Errno> {
    fd::close_all_but_two(conn.as_raw_fd(), verdicts.as_raw_fd())?;
    for number in 0..if stderr { 3 } else { 2 } {
        fd::replace_standard(number, conn)?;
    }
    signal::reset_all()?;
    // A name server that goes away is no end of ours.
    signal::ignore_pipe();
    Ok(())
}

/// Looks up what is asked for, adds it and the rule's variables to `more`, and returns why the peer is denied, if it is.
pub(super) fn decide(
    guest: &Guest,
    listener: &Place,
    lookups: Lookups,
    policy: &Policy,
    more: &mut Vec<u8>,
) -> Option<String> {
    let names = names_of(guest, listener, lookups);
    additions::names(&names, more);
    let verdict = policy.judge(&PeerFacts {
        peer: &guest.arrival.peer,
        host: names.remote_host.as_deref(),
        ident: names.remote_info.as_deref(),
    });
    additions::replace(pairs(verdict.variables), more);
    (!verdict.allows).then(|| verdict.why.to_string())
}

/// Names and values.
pub(super) fn pairs(variables: &[Variable]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    variables.iter().map(|it| (&*it.name, &*it.value))
}

fn names_of(guest: &Guest, listener: &Place, lookups: Lookups) -> Names {
    let inet = |place: &Place| match place {
        Place::Inet(address) => Some(*address),
        _ => None,
    };
    let local = match &guest.arrival.local {
        Local::OfListener => inet(listener),
        Local::Own(place) => inet(place),
        Local::Unknown => None,
    };
    let Some(remote) =
        inet(&guest.arrival.remote).filter(|_| lookups.are_asked_of(&guest.arrival.peer))
    else {
        return Names::default();
    };
    lookup::look_up(&Asked {
        remote,
        local,
        resolve: lookups.resolve,
        ident: lookups.ident,
        local_is_ours: !guest.is_announced(),
        timeout: lookups.timeout,
    })
}
