//! How sockets are made: from what was asked for, with every name looked up.

use crate::listen::open::{self, Refused};
use crate::listen::unixfile::Access;
use crate::model::address::Style;
use crate::model::daemon::UserSpec;
use crate::model::error::Fatal;
use crate::model::number;
use crate::model::service::{Making, Replaces};
use crate::model::sockopt::{KeepAlive, SocketOptions};
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::{names, socket};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// How many may wait for metrics.
const METRICS_BACKLOG: i32 = 64;

/// How long a start waits for the lock of a folder that a unix socket is to be in.
const PATIENCE: Duration = Duration::from_secs(1);

/// What look-ups of hosts have found, or why they have not.
pub(crate) type Hosts = HashMap<String, Result<Vec<IpAddr>, String>>;

/// How sockets are made: what all of them have in common.
pub(crate) struct BindOptions {
    /// Hosts that have been looked up already; all others are looked up when they are wanted.
    pub(super) hosts: Rc<Hosts>,
    /// `None`: stream sockets are bound and no more.
    pub(super) backlog: Option<i32>,
    pub(super) access: Access,
    pub(super) sockets: SocketOptions,
    keepalive: Option<KeepAlive>,
}

impl BindOptions {
    /// Looks up the owner.
    ///
    /// # Errors
    /// 100 for an unknown user or group.
    pub(crate) fn of(making: &Making, keepalive: Option<KeepAlive>) -> Result<Self, Fatal> {
        let owner = making.owner.as_ref().map(owner_ids).transpose()?;
        Ok(Self {
            backlog: making.listens.then_some(making.backlog),
            access: Access {
                mode: making.mode,
                owner,
                replaces: making.replaces,
                patience: PATIENCE,
            },
            sockets: making.sockets.clone(),
            keepalive,
            hosts: Rc::default(),
        })
    }

    /// How the sockets of a service of an inetd.conf(5) are made: anybody may use them.
    pub(crate) fn of_service(
        backlog: i32,
        sockets: SocketOptions,
        keepalive: Option<KeepAlive>,
        hosts: Rc<Hosts>,
    ) -> Self {
        Self {
            hosts,
            backlog: Some(backlog),
            access: Access {
                mode: Some(0o666),
                owner: None,
                replaces: Replaces::DeadSockets,
                patience: PATIENCE,
            },
            sockets,
            keepalive,
        }
    }

    /// While others are served nobody's lock is waited for.
    pub(crate) fn while_serving(mut self) -> Self {
        self.access.patience = Duration::ZERO;
        self
    }

    /// Who may use unix socket files, and nothing else that concerns services.
    pub(crate) fn plain(&self) -> Self {
        Self {
            backlog: Some(METRICS_BACKLOG),
            access: self.access,
            sockets: SocketOptions::default(),
            keepalive: None,
            hosts: Rc::clone(&self.hosts),
        }
    }

    /// listen(2), if that is asked for.
    pub(super) fn listen(&self, socket: &OwnedFd) -> Result<(), Errno> {
        self.backlog
            .map_or(Ok(()), |backlog| socket::listen(socket, backlog))
    }

    /// An internet socket with all that is asked for but for SO_REUSEPORT.
    pub(super) fn open(&self, style: Style, address: SocketAddr) -> Result<OwnedFd, Refused> {
        let domain = if address.is_ipv4() {
            socket::AF_INET
        } else {
            socket::AF_INET6
        };
        open::inet(&self.sockets, self.keepalive, style, domain)
    }
}

/// uid and, if a group was named, gid; names first, then numbers, as chown(1) does.
fn owner_ids(owner: &UserSpec) -> Result<(u32, Option<u32>), Fatal> {
    let unknown = |what: &str, name: &str| {
        Fatal::usage(format!(
            "--owner: there is no {what} {}",
            Quoted(name.as_bytes())
        ))
    };
    let uid = match names::user(&owner.user) {
        Some((uid, _)) => uid,
        None => number::id(&owner.user).ok_or_else(|| unknown("user", &owner.user))?,
    };
    let gid = match &owner.group {
        None => None,
        Some(group) => {
            let gid = names::group(group).or_else(|| number::id(group));
            Some(gid.ok_or_else(|| unknown("group", group))?)
        }
    };
    Ok((uid, gid))
}
