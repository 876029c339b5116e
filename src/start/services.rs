//! The services of `--inetd-conf` while skd starts.

use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{Listener, Listeners, Resumed};
use crate::model::address::Style;
use crate::model::error::Fatal;
use crate::model::inetd::ServiceFile;
use crate::model::service::Run;
use crate::model::state::State;
use crate::report::log::Log;
use crate::serve::entrance::{Hosted, Served};
use crate::serve::inetd::{InetdConf, Parse, Prepared, Sockets};
use crate::sys::errno::Errno;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::rc::Rc;

/// The file and what stands in it.
pub(super) struct Services {
    pub(super) conf: InetdConf,
    prepared: Vec<Prepared>,
    /// Of each of them, until they are bound.
    sockets: Vec<Sockets>,
    /// Of what each listener is.
    owners: Vec<Owner>,
}

/// Of what a listener is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Owner {
    /// Of the command line.
    Line,
    /// Of this service.
    Service(usize),
    /// Of a service of this name that the file has no more.
    Gone(String),
}

impl Services {
    /// Reads the file; where there was an skd before us, what it said then will do, but not for a check.
    ///
    /// # Errors
    /// 100: it cannot be read, or something in it is wrong, each thing on a line of its own.
    pub(super) fn open(
        run: &Run,
        parse: Parse,
        environment: &[(OsString, OsString)],
        state: Option<&State>,
    ) -> Result<Option<Self>, Fatal> {
        let mut environment = scrubbed(environment, Scrub::Child, false);
        if let Some(file) = &run.inetd_conf {
            heed_wrappers(file)?;
            if file.launders {
                environment.retain(|(name, _)| name == "PATH");
            }
        }
        let Some((mut conf, kept)) = InetdConf::open(run, parse, environment, state)? else {
            return Ok(None);
        };
        let kept = kept.and_then(|text| conf.understand(&text).ok());
        let prepared = kept.map_or_else(|| conf.read(), Ok);
        let prepared = prepared.map_err(|wrong| Fatal::configuration(wrong.join("\n")))?;
        conf.is_right();
        Ok(Some(Self {
            conf,
            prepared,
            sockets: Vec::new(),
            owners: Vec::new(),
        }))
    }

    /// The types of the sockets of which skd takes connections.
    pub(super) fn styles(&self) -> impl Iterator<Item = Style> {
        self.prepared.iter().filter_map(Prepared::accepted)
    }

    /// Whether there is anything to serve, and nothing that cannot be.
    ///
    /// # Errors
    /// 100: the file has no service, and there is no other socket; there is none for PROG.
    pub(super) fn expect_some(&self, others: usize, run: &Run) -> Result<(), Fatal> {
        if others > 0 {
            return Ok(());
        }
        if !run.service.words.is_empty() {
            let text = "there is no socket for PROG; the services of --inetd-conf have programs of their own";
            return Err(Fatal::usage(text));
        }
        match self.prepared.is_empty() {
            true => Err(Fatal::configuration(self.conf.without_services())),
            false => Ok(()),
        }
    }

    /// Looks up hosts, and what else can be known without binding.
    ///
    /// # Errors
    /// 111, naming the place in the file; 100: two services have the same address.
    pub(super) fn look_up(&mut self, inherited: &[Listener]) -> Result<(), Fatal> {
        self.sockets = self.conf.all_sockets(&self.prepared, inherited)?;
        Ok(())
    }

    /// Binds what no inherited socket satisfies; those are the first ones of `listeners`.
    ///
    /// # Errors
    /// 111, naming the place in the file.
    pub(super) fn make(
        &mut self,
        inherited_count: usize,
        listeners: &mut Listeners,
    ) -> Result<(), Fatal> {
        self.owners = vec![Owner::Line; listeners.all.len()];
        let sockets = std::mem::take(&mut self.sockets);
        for (owner, (prepared, sockets)) in self.prepared.iter().zip(sockets).enumerate() {
            let inherited = listeners.all.get(..inherited_count).unwrap_or_default();
            for place in sockets.satisfied_by(inherited) {
                if let Some(it) = self.owners.get_mut(place) {
                    *it = Owner::Service(owner);
                }
            }
            let made = self.conf.make(prepared, sockets, inherited)?;
            self.owners
                .extend(made.iter().map(|_| Owner::Service(owner)));
            listeners.all.extend(made);
        }
        Ok(())
    }

    /// The same where all listeners are those of an skd before us; nothing is bound yet.
    ///
    /// # Errors
    /// 111, naming the place in the file.
    pub(super) fn recognise(
        &mut self,
        listeners: &[Listener],
        resumed: &Resumed,
        has_prog: bool,
    ) -> Result<(), Fatal> {
        let unknown = match has_prog {
            true => Owner::Line,
            false => Owner::Gone(String::new()),
        };
        self.owners = vec![unknown; listeners.len()];
        if let Some(state) = resumed.state() {
            for (owner, kept) in self.owners.iter_mut().zip(&state.listeners) {
                if let Some(name) = &kept.service {
                    let name = String::from_utf8_lossy(name);
                    let mut all = self.prepared.iter();
                    let service = all.position(|it| it.name() == name);
                    *owner = service.map_or(Owner::Gone(name.into_owned()), Owner::Service);
                }
            }
            return Ok(());
        }
        for (owner, prepared) in self.prepared.iter().enumerate() {
            let sockets = self.conf.sockets(prepared, listeners)?;
            for place in sockets.satisfied_by(listeners) {
                if let Some(it) = self.owners.get_mut(place) {
                    *it = Owner::Service(owner);
                }
            }
        }
        Ok(())
    }

    /// What is served for each, skd being who it stays.
    ///
    /// # Errors
    /// 111: skd may not become whom a line names.
    pub(super) fn served(&self, log: &mut Log) -> Result<Vec<Rc<Served>>, Fatal> {
        let mut all = Vec::new();
        for prepared in &self.prepared {
            let (served, warning) = self.conf.served(prepared).map_err(Fatal::system)?;
            all.push(served);
            warning.into_iter().for_each(|text| log.warn(&text));
        }
        Ok(all)
    }
}

/// Every listener with what is served there; `of_line` is that of the command line.
///
/// # Errors
/// 100: nothing is, there being no PROG; 111 as above.
pub(super) fn hosted(
    listeners: Vec<Listener>,
    of_line: Option<&Rc<Served>>,
    services: Option<&Services>,
    log: &mut Log,
) -> Result<Vec<Hosted>, Fatal> {
    let served = services.map(|it| it.served(log)).transpose()?;
    let owner_of = |place| services?.owners.get(place);
    let host = |(place, listener): (usize, Listener)| {
        let served = match owner_of(place) {
            Some(Owner::Service(owner)) => served.as_ref().and_then(|all| all.get(*owner)).cloned(),
            Some(Owner::Gone(name)) => Some(Rc::new(Served::nothing(Some(name.clone())))),
            Some(Owner::Line) | None => of_line.cloned(),
        };
        let served = served.ok_or_else(|| {
            let label = &listener.label;
            Fatal::usage(format!("PROG is missing, and no service is {label}"))
        })?;
        Ok(Hosted { listener, served })
    };
    listeners.into_iter().enumerate().map(host).collect()
}

/// Where rules for TCP wrappers are.
const WRAPPERS: [&str; 2] = ["/etc/hosts.allow", "/etc/hosts.deny"];

/// Nobody is to come in whom rules keep out that skd does not read.
///
/// # Errors
/// 100: there are such rules, and they are expected to be heeded; 111: whether there are any cannot be told.
fn heed_wrappers(file: &ServiceFile) -> Result<(), Fatal> {
    let is_rule = |line: &[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
    for path in WRAPPERS.iter().filter(|_| file.heeds_wrappers) {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Fatal::unable(format!("read {path}"), Errno::of(&error))),
        };
        if text.split(|byte| *byte == b'\n').any(is_rule) {
            return Err(Fatal::configuration(format!(
                "-l: {path} has rules, which skd does not read; skd --inetd-conf with --rules has its own"
            )));
        }
    }
    Ok(())
}
