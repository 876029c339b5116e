//! The services of an inetd.conf(5): read, bound, and exchanged when the file has changed.

mod change;
mod lookup;
mod prepare;
mod sharing;

use crate::admit::quota::Quota;
use crate::launch::prog::Prog;
use crate::listen::{BindOptions, Hosts, Listener, Wanted};
use crate::model::address::Style;
use crate::model::error::Fatal;
use crate::model::inetd::{Limits, Server, Services, Wrong};
use crate::model::service::{Mode, Pass, Proto, Run, Service};
use crate::model::sockopt::{KeepAlive, SocketOptions};
use crate::model::state::{KeptFile, State};
use crate::model::text::Quoted;
use crate::serve::entrance::{Inetd, Runs, Served};
use crate::serve::heldfile::HeldFile;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::identity;
use change::{Unbound, Waiting};
use prepare::Names;
pub(crate) use prepare::Prepared;
use sharing::Located;
use std::cell::RefCell;
use std::ffi::{CString, OsStr, OsString};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Instant;

/// No file is longer, in bytes.
const FILE_BYTES: usize = 1 << 20;

/// What becomes of the text of a file.
pub(crate) type Parse = fn(&[u8], Option<&str>) -> Services;

/// A service, what is served for it, and a warning if its program is missing.
type Ready = (Prepared, Rc<Served>, Option<String>);

/// The file, and what it said when an skd before us had it.
type Opened = (InetdConf, Option<Vec<u8>>);

/// The sockets of a service as they are to be, with hosts looked up.
pub(crate) struct Sockets {
    all: Vec<Wanted>,
    options: BindOptions,
}

impl Sockets {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().flat_map(Wanted::addresses).collect()
    }

    /// The places of those among these that are what is wanted.
    pub(crate) fn satisfied_by(&self, inherited: &[Listener]) -> Vec<usize> {
        let is_it = |listener| self.all.iter().any(|it| it.is_satisfied_by(listener));
        let places = inherited.iter().enumerate();
        let fitting = places.filter(|(_, it)| is_it(it));
        fitting.map(|(place, _)| place).collect()
    }
}

/// What all services of the file have in common.
struct Common {
    backlog: i32,
    sockets: SocketOptions,
    keepalive: Option<KeepAlive>,
    nodelay: bool,
    proto: Proto,
    environment: Vec<(OsString, OsString)>,
    starts_per_minute: Option<NonZeroU32>,
    host: Option<Box<str>>,
}

/// The file, and how its services are made.
pub(crate) struct InetdConf {
    file: HeldFile,
    parse: Parse,
    common: Common,
    /// What has been read, and is not in force yet.
    text: Option<Vec<u8>>,
    /// Those that could not be bound.
    unbound: Vec<Unbound>,
    /// The hosts of those that are to be bound.
    hosts: Rc<Hosts>,
    /// What is to be done when hosts have been looked up.
    waiting: Option<Waiting>,
    /// What names mean that the file has, where skd is or will be in a root folder in which that may not be found.
    pub(super) known: String,
    /// The same for what has been read last.
    used: String,
    is_jailed: bool,
}

impl InetdConf {
    /// `environment` is what every program gets. Where there was an skd before us, `state` is what it had, and what its file
    /// said comes along, if that is to do.
    ///
    /// # Errors
    /// 100: there is no such folder.
    pub(crate) fn open(
        run: &Run,
        parse: Parse,
        environment: Vec<(OsString, OsString)>,
        state: Option<&State>,
    ) -> Result<Option<Opened>, Fatal> {
        let Some(file) = &run.inetd_conf else {
            return Ok(None);
        };
        let name = file.path.as_bytes().to_vec();
        let unreadable = |errno| Fatal::configuration(unreadable(file.path.as_bytes(), errno));
        let (held, contents) = match state.and_then(|it| it.services.as_ref()) {
            Some(kept) => HeldFile::resume(name, (kept, run.check)),
            None => HeldFile::open(name).map(|held| (held, None)),
        }
        .map_err(unreadable)?;
        let it = Self {
            file: held,
            parse,
            text: None,
            unbound: Vec::new(),
            hosts: Rc::default(),
            waiting: None,
            used: String::new(),
            known: state.map_or_else(String::new, |it| it.known.clone()),
            is_jailed: run.daemon.privileges.may_have_jail(),
            common: Common {
                backlog: run.making.backlog,
                sockets: run.making.sockets.clone(),
                keepalive: run.service.keepalive,
                nodelay: run.service.nodelay,
                proto: run.service.proto.clone(),
                environment,
                starts_per_minute: file.starts_per_minute,
                host: file.host.clone(),
            },
        };
        Ok(Some((it, contents)))
    }

    /// What to say of a file that has none where there is nothing else.
    pub(crate) fn without_services(&self) -> String {
        format!(
            "{} has no service, and there is no socket",
            Quoted(&self.file.name)
        )
    }

    /// Reads the file, and looks up what is a name; it is not in force before it is said so.
    ///
    /// # Errors
    /// All that is wrong, a line each.
    pub(crate) fn read(&mut self) -> Result<Vec<Prepared>, Vec<String>> {
        let text = self.file.read(FILE_BYTES + 1);
        let text = text.map_err(|errno| vec![unreadable(&self.file.name, errno)])?;
        if text.len() > FILE_BYTES {
            let name = Quoted(&self.file.name);
            return Err(vec![format!("{name} is longer than {FILE_BYTES} bytes")]);
        }
        let all = self.understand(&text)?;
        self.text = Some(text);
        Ok(all)
    }

    /// What has been read last is right, and in force.
    pub(crate) fn is_right(&mut self) {
        let used = std::mem::take(&mut self.used);
        if self.is_jailed {
            self.known = used;
        }
        if let Some(text) = self.text.take() {
            self.file.is_right(&text);
        }
    }

    /// What an skd in our place needs.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Option<KeptFile>, Errno> {
        self.file.keep(keeper)
    }

    /// The same for a text that was read before.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn understand(&mut self, text: &[u8]) -> Result<Vec<Prepared>, Vec<String>> {
        let services = (self.parse)(text, self.common.host.as_deref());
        let mut names = Names {
            known: &self.known,
            used: String::new(),
        };
        let all = prepare::prepare(services, &mut names);
        let all = all.map_err(|wrong| self.told(wrong))?;
        self.used = names.used;
        Ok(all)
    }

    /// The sockets of a service.
    ///
    /// # Errors
    /// 111, naming the place in the file: a host is not found, something lies at a path.
    pub(crate) fn sockets(
        &self,
        prepared: &Prepared,
        inherited: &[Listener],
    ) -> Result<Sockets, Fatal> {
        let service = &prepared.service;
        let sockets = SocketOptions {
            buffers: service.buffers,
            ..self.common.sockets.clone()
        };
        let common = &self.common;
        let options = BindOptions::of_service(
            common.backlog,
            sockets,
            common.keepalive,
            Rc::clone(&self.hosts),
        );
        let of = |named| Wanted::of(named, service.family, &options, inherited);
        let all = service.named.iter().map(of).collect::<Result<_, _>>();
        let all = all.map_err(|fatal| self.at(prepared, &fatal))?;
        Ok(Sockets { all, options })
    }

    /// The same for all services of the file at the start.
    ///
    /// # Errors
    /// As above; 100: two of them have the same address.
    pub(crate) fn all_sockets(
        &self,
        all: &[Prepared],
        inherited: &[Listener],
    ) -> Result<Vec<Sockets>, Fatal> {
        let mut sockets = Vec::new();
        let mut located = Vec::new();
        for prepared in all {
            let of_one = self.sockets(prepared, inherited)?;
            located.push((prepared, of_one.addresses()));
            sockets.push(of_one);
        }
        let wrong = self.shared(located);
        match wrong.is_empty() {
            true => Ok(sockets),
            false => Err(Fatal::configuration(wrong.join("\n"))),
        }
    }

    /// What is wrong with services on one address.
    fn shared(&self, all: Vec<Located>) -> Vec<String> {
        self.told(sharing::shared(all))
    }

    /// What is wrong, a line each.
    fn told(&self, wrong: Vec<Wrong>) -> Vec<String> {
        let shown = |wrong: Wrong| wrong.shown(&self.file.name);
        wrong.into_iter().map(shown).collect()
    }

    fn at(&self, prepared: &Prepared, fatal: &Fatal) -> Fatal {
        prepare::fatal(fatal, &self.file.name, prepared.service.at)
    }

    /// Binds what no inherited socket satisfies.
    ///
    /// # Errors
    /// 111, naming the place in the file.
    pub(crate) fn make(
        &self,
        prepared: &Prepared,
        sockets: Sockets,
        inherited: &[Listener],
    ) -> Result<Vec<Listener>, Fatal> {
        let mut made = Vec::new();
        for wanted in sockets.all {
            let new = wanted.make(&sockets.options, inherited);
            made.extend(new.map_err(|fatal| self.at(prepared, &fatal))?.listeners);
        }
        Ok(made)
    }

    /// The places of those of these sockets that are what a service wants, address by address.
    pub(super) fn fitting<'a>(
        &self,
        prepared: &Prepared,
        sockets: &(impl Iterator<Item = (usize, &'a Listener)> + Clone),
    ) -> Vec<usize> {
        // What is wrong is told when it is bound.
        let wanted = self.sockets(prepared, &[]).map(|it| it.all);
        let wanted = wanted.unwrap_or_default();
        let fitting = wanted.iter().flat_map(|it| it.all_among(sockets.clone()));
        fitting.collect()
    }

    /// Binds what is not among these sockets, while others are served.
    ///
    /// # Errors
    /// 111, naming the place in the file.
    fn make_missing<'a>(
        &self,
        prepared: &Prepared,
        sockets: &(impl Iterator<Item = (usize, &'a Listener)> + Clone),
    ) -> Result<Vec<Listener>, Fatal> {
        let Sockets { all, options } = self.sockets(prepared, &[])?;
        let options = options.while_serving();
        let mut made = Vec::new();
        for wanted in all {
            if wanted.all_among(sockets.clone()).is_empty() {
                let new = wanted.make(&options, &[]);
                made.extend(new.map_err(|fatal| self.at(prepared, &fatal))?.listeners);
            }
        }
        Ok(made)
    }

    /// What is served for a service, to be asked for when skd is who it stays; with a warning, if its program is missing.
    ///
    /// # Errors
    /// skd may not become whom it names.
    pub(crate) fn served(
        &self,
        prepared: &Prepared,
    ) -> Result<(Rc<Served>, Option<String>), String> {
        let (service, ids) = (&prepared.service, prepared.ids.clone());
        let ids = Some(ids).filter(|ids| !ids.are_ours());
        if ids.is_some() && !identity::is_root() {
            let user = Quoted(service.user.as_bytes());
            let why = format!("{user}: skd is not root, and cannot become anybody else");
            return Err(Wrong {
                at: service.user_at,
                why,
            }
            .shown(&self.file.name));
        }
        let common = &self.common;
        let (runs, words, warning) = match &service.server {
            Server::Internal(builtin) => (Runs::Internal(*builtin), vec!["internal".into()], None),
            Server::Program { file, words } => {
                let path = common.environment.iter().find(|(name, _)| name == "PATH");
                let path = path.map(|(_, value)| value.as_os_str());
                let (prog, warning) = self.find(prepared, (file, words), path);
                let program = prog.ready_to_lead(common.environment.clone());
                (Runs::Program(program), vec![file.clone()], warning)
            }
        };
        let lends = service.waits && service.style != Style::Datagram;
        let served = Served {
            service: Service {
                mode: if lends {
                    Mode::Listeners
                } else {
                    Mode::Connections
                },
                pass: Pass::default(),
                words,
                max_connections: None,
                stderr_to_client: true,
                nodelay: common.nodelay,
                keepalive: common.keepalive,
                proto: common.proto.clone(),
            },
            runs,
            inetd: Some(Inetd {
                name: service.name.clone(),
                ids,
                quota: RefCell::new(Quota::new(self.limits(prepared), Instant::now())),
            }),
        };
        Ok((Rc::new(served), warning))
    }

    fn limits(&self, prepared: &Prepared) -> Limits {
        let limits = prepared.service.limits;
        let starts_per_minute = limits.starts_per_minute.or(self.common.starts_per_minute);
        Limits {
            starts_per_minute,
            ..limits
        }
    }

    /// The same for all of them, or everything that is wrong.
    fn all_served(&self, all: Vec<Prepared>) -> Result<Vec<Ready>, Vec<String>> {
        let mut wrong = Vec::new();
        let mut served = Vec::new();
        for prepared in all {
            match self.served(&prepared) {
                Ok((it, warning)) => served.push((prepared, it, warning)),
                Err(text) => wrong.push(text),
            }
        }
        if wrong.is_empty() {
            Ok(served)
        } else {
            Err(wrong)
        }
    }

    /// The program; one that is not there is tried when somebody comes.
    fn find(
        &self,
        prepared: &Prepared,
        (file, words): (&OsString, &[OsString]),
        path: Option<&OsStr>,
    ) -> (Prog, Option<String>) {
        match Prog::find(std::slice::from_ref(file), path) {
            Ok(prog) => (prog.with_words(words.iter().cloned()), None),
            Err(fatal) => {
                let at = prepared.service.server_at;
                let why = format!("{}, closing its connections until it is there", fatal.text);
                let warning = Wrong { at, why }.shown(&self.file.name);
                // No word of a file has a NUL.
                let file = CString::new(file.as_bytes()).unwrap_or_default();
                (Prog::at(file, words.iter().cloned()), Some(warning))
            }
        }
    }
}

fn unreadable(name: &[u8], errno: Errno) -> String {
    let reason = match errno {
        Errno::INVALID => "a regular file is expected".into(),
        other => other.to_string(),
    };
    format!("unable to read the services {}: {reason}", Quoted(name))
}
