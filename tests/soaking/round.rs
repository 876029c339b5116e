//! A round: clients and troubles for a while, then silence, in which everything is counted.

use crate::account::Account;
use crate::clients::{Client, Clients};
use crate::eventually;
use crate::held::Held;
use crate::instance::{Instance, locked, port, says};
use crate::logs::{LogFiles, Syslogd};
use crate::troubles::{self, Process, Syslogs, processes};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Clients of each skd at once, beside those that are held and those that hang.
const CLIENTS: u64 = 12;

/// The skd that logs to a file, and has the live connections.
pub(crate) struct File {
    pub(crate) skd: Arc<Instance>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) held: Held,
    log: LogFiles,
}

/// The skd that logs to syslog.
pub(crate) struct Syslog {
    pub(crate) skd: Arc<Instance>,
    pub(crate) syslogd: Option<Syslogd>,
    pub(crate) restarts: u64,
    pub(crate) killed: u64,
    /// Lines that dead loggers had read.
    pub(crate) taken_along: u64,
    /// How many lines were told to be lost, and killed loggers there were, when last it was looked at.
    told: u64,
    killed_before: u64,
    /// How many reloads and upgrades there were then.
    begun_before: u64,
}

/// At most so many lines that are no event come with a reload or an upgrade.
const OTHERS: u64 = 16;

pub(crate) struct Run {
    clients: Arc<Clients>,
    file: File,
    syslog: Syslog,
}

/// The next of numbers that look random and are the same in every run: xorshift64.
pub(crate) fn next(mut number: u64) -> u64 {
    number ^= number << 13;
    number ^= number >> 7;
    number ^ number << 17
}

type Wrongs = Vec<String>;

impl Run {
    /// Both skds, and so many live connections.
    pub(crate) fn start(live: usize) -> Self {
        let clients = Arc::new(Clients::default());
        let file_log = format!(">>{}/file.log", crate::FOLDER);
        let mut file = File {
            skd: Arc::new(Instance::start("file", 7000, &file_log)),
            clients: Arc::clone(&clients),
            held: Held::default(),
            log: LogFiles::default(),
        };
        let mut syslog = Syslog {
            skd: Arc::new(Instance::start("syslog", 7100, "soak")),
            syslogd: None,
            restarts: 0,
            killed: 0,
            taken_along: 0,
            told: 0,
            killed_before: 0,
            begun_before: 0,
        };
        syslog.start();
        // After skds and their children: those keep the limit that there was.
        let (_, most) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most)
            .unwrap();
        file.held
            .open(&file.skd, &clients, live)
            .expect("live connections");
        Self {
            clients,
            file,
            syslog,
        }
    }

    /// How many connections and datagrams there have been.
    pub(crate) fn connections(&self) -> u64 {
        let is_one = |kind: &str| {
            ["accept ", "datagram ", "answered ", "deny "]
                .iter()
                .any(|word| kind.starts_with(word))
        };
        [&self.file.skd, &self.syslog.skd]
            .map(|skd| locked(&skd.expected).count(is_one))
            .iter()
            .sum()
    }

    pub(crate) fn round(
        &mut self,
        number: u64,
        is_first_half: bool,
        time: Duration,
        account: &mut Account,
    ) -> Result<(), Wrongs> {
        let kind = Syslogs::of(number);
        let wrong = self.traffic(number, is_first_half, kind, time);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        self.syslog.start();
        // Always the same services, to be compared.
        for skd in [&self.file.skd, &self.syslog.skd] {
            if says(skd.generation()).allows {
                skd.reload();
            }
        }
        let mut wrong = Wrongs::new();
        wrong.extend(self.file.held.all_answer().err());
        let live = self.file.held.len();
        let File { skd, log, .. } = &mut self.file;
        wrong.extend(settle(skd, live, &mut || log.read(skd)));
        wrong.extend(self.file.is_exact());
        wrong.extend(settle(&self.syslog.skd, 0, &mut || {}));
        wrong.extend(self.syslog.is_exact(kind));
        // Nobody says anything now, so that a dead logger takes nothing along.
        if let Err(error) = self.syslog.kill_logger() {
            wrong.push(error);
        }
        self.syslog.skd.status(&mut || {});
        wrong.extend(self.syslog.is_exact(Syslogs::Restarts));
        wrong.extend(self.leftovers());
        account.sample(
            number,
            is_first_half,
            self.connections(),
            live,
            [&self.file.skd, &self.syslog.skd],
        );
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Clients and troubles for this time.
    fn traffic(
        &mut self,
        number: u64,
        is_first_half: bool,
        kind: Syslogs,
        time: Duration,
    ) -> Wrongs {
        let (over, end) = (AtomicBool::new(false), Instant::now() + time);
        let wrong = Mutex::new(Wrongs::new());
        let tell = |what: &str, outcome: Result<(), String>| {
            if let Err(text) = outcome {
                locked(&wrong).push(format!("{what}: {text}"));
                over.store(true, Ordering::SeqCst);
            }
        };
        let skds = [Arc::clone(&self.file.skd), Arc::clone(&self.syslog.skd)];
        let (all, over, tell) = (&self.clients, &over, &tell);
        let (file, syslog) = (&mut self.file, &mut self.syslog);
        std::thread::scope(|scope| {
            for (place, skd) in skds.iter().enumerate() {
                for client in 0..CLIENTS {
                    scope.spawn(move || {
                        let mut seed = next(1 + client + CLIENTS * (place as u64 + 2 * number));
                        let mut client = Client::new(all, skd);
                        while Instant::now() < end && !over.load(Ordering::SeqCst) {
                            seed = next(seed);
                            tell(skd.name, client.act(seed >> 16));
                        }
                        tell(skd.name, client.leave());
                    });
                }
            }
            let troubles = [
                scope.spawn(move || {
                    tell("file", troubles::of_file(file, is_first_half, over, number))
                }),
                scope.spawn(move || {
                    tell(
                        "syslog",
                        troubles::of_syslog(syslog, !is_first_half, kind, over),
                    )
                }),
            ];
            while Instant::now() < end && !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            over.store(true, Ordering::SeqCst);
            drop(troubles);
        });
        wrong.into_inner().unwrap()
    }

    /// The init process takes in who let go of a skd's descriptors while it was replaced, once that has ended.
    fn reap_orphans(&self) {
        let skds = [&self.file.skd, &self.syslog.skd].map(|skd| skd.pid);
        let is_orphan = |process: &Process| {
            process.parent == 1 && process.name.ends_with(".skd") && process.state == "Z"
        };
        let all = processes().into_iter().filter(is_orphan);
        let pids = all.map(|process| Pid::from_raw(process.pid));
        for pid in pids.filter(|pid| !skds.contains(pid)) {
            waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap();
        }
    }

    /// Zombies, and children that nobody knows.
    fn leftovers(&self) -> Wrongs {
        self.reap_orphans();
        let all = processes();
        let zombies = all.iter().filter(|process| process.state == "Z");
        let mut wrong: Wrongs = zombies
            .map(|process| format!("a zombie: {process:?}"))
            .collect();
        let of = |skd: &Instance| {
            all.iter()
                .filter(|process| process.parent == skd.pid.as_raw())
                .count()
        };
        let counts = [of(&self.file.skd), of(&self.syslog.skd)];
        if counts != [self.file.held.len(), 1] {
            wrong.push(format!(
                "children of the skds: {counts:?}, live {}",
                self.file.held.len()
            ));
        }
        wrong
    }

    /// Everybody leaves, and the skds are stopped.
    pub(crate) fn end(&mut self, account: &mut Account) -> Result<(), Wrongs> {
        let mut wrong = Wrongs::new();
        wrong.extend(self.file.held.close_all(&self.file.skd).err());
        let File { skd, log, .. } = &mut self.file;
        wrong.extend(settle(skd, 0, &mut || log.read(skd)));
        wrong.extend(self.file.is_exact());
        for skd in [&self.file.skd, &self.syslog.skd] {
            let code = skd.stop();
            let is_left =
                ["sock", "pid", "metrics"].map(|what| std::fs::exists(skd.path(what)).unwrap());
            if code != Some(0) || is_left.contains(&true) {
                wrong.push(format!(
                    "{} ended with {code:?} and left {is_left:?}",
                    skd.name
                ));
            }
        }
        eventually("the last logger ends", || {
            while waitpid(None, Some(WaitPidFlag::WNOHANG))
                .is_ok_and(|status| status.pid().is_some())
            {}
            (processes().len() == 1).then_some(())
        });
        wrong.extend(self.syslog.is_exact(Syslogs::Restarts));
        account.totals(&self.file, &self.syslog, &self.clients);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Waits until no child is left but these; then counters, status and metrics must agree with what clients met.
fn settle(skd: &Instance, live: usize, read_log: &mut dyn FnMut()) -> Wrongs {
    let children = |metrics: &HashMap<String, f64>| Instance::total(metrics, "skd_children{");
    let metrics = eventually(&format!("the children of {} end", skd.name), || {
        skd.scrape()
            .ok()
            .filter(|metrics| children(metrics) == live as u64)
    });
    let status = skd.status(read_log);
    let expected = locked(&skd.expected);
    let starts = |what: &'static [&'static str]| {
        move |kind: &str| what.iter().any(|word| kind.starts_with(word))
    };
    let [accepted, denied, failed] = [
        &["accept ", "datagram ", "answered "][..],
        &["deny "],
        &["failed "],
    ]
    .map(|what| expected.count(starts(what)));
    let wanted = format!("{live} accepted {accepted} denied {denied} failed {failed}");
    let mut wrong = Wrongs::new();
    if status != wanted {
        wrong.push(format!(
            "{} has the status {status:?} and not {wanted:?}",
            skd.name
        ));
    }
    for behind in [
        port::TCP,
        port::UDP,
        port::NOWAIT,
        port::WAIT,
        port::ECHO,
        port::ECHO_UDP,
        port::MISSING,
    ] {
        let label = skd.label(behind);
        let words = [
            (
                "skd_accepted_total",
                &["accept ", "datagram ", "answered "][..],
            ),
            ("skd_denied_total", &["deny "]),
            ("skd_failed_total", &["failed "]),
        ];
        for (name, what) in words {
            let is_it = starts(what);
            let wanted =
                expected.count(|kind| is_it(kind) && kind.split(' ').nth(1) == Some(&label));
            let told = metrics
                .get(&format!("{name}{{listener=\"{label}\"}}"))
                .copied();
            if told != Some(wanted as f64) {
                wrong.push(format!("{name} of {label} is {told:?} and not {wanted}"));
            }
        }
    }
    wrong
}

/// What is in the log is what clients met.
fn compare(skd: &Instance) -> Wrongs {
    let seen = locked(&skd.seen);
    let expected = locked(&skd.expected).logged();
    let mut wrong = seen.events.differs_from(&expected);
    wrong.extend(
        seen.strange
            .iter()
            .map(|line| format!("a strange line: {line}")),
    );
    wrong
        .iter()
        .map(|text| format!("{}'s log: {text}", skd.name))
        .collect()
}

impl File {
    fn is_exact(&self) -> Wrongs {
        let mut wrong = compare(&self.skd);
        if locked(&self.skd.seen).lost != 0 {
            wrong.push("the file lost lines".into());
        }
        wrong
    }
}

impl Syslog {
    /// As the file, but for what was told to be lost, and what killed loggers took along.
    fn is_exact(&mut self, kind: Syslogs) -> Wrongs {
        let mut seen = locked(&self.skd.seen);
        let told = seen.lost - std::mem::replace(&mut self.told, seen.lost);
        let killed = self.killed - std::mem::replace(&mut self.killed_before, self.killed);
        let begun =
            [&self.skd.reloads, &self.skd.upgrades].map(|count| count.load(Ordering::SeqCst));
        let begun = begun.iter().sum::<u64>();
        let begun = begun - std::mem::replace(&mut self.begun_before, begun);
        if told == 0 && kind != Syslogs::Killed {
            drop(seen);
            return compare(&self.skd);
        }
        let expected = locked(&self.skd.expected).logged();
        let missing = match seen.events.catch_up(&expected) {
            Ok(missing) => missing,
            Err(text) => return vec![format!("too much in syslog's log: {text}")],
        };
        // A dead logger had at most 64 KiB in its hands, and half a line is none.
        if kind == Syslogs::Killed {
            let strange = seen.strange.len() as u64;
            let unaccounted = missing.saturating_sub(told);
            self.taken_along += unaccounted;
            seen.strange.clear();
            if strange <= killed && unaccounted <= killed * 1024 {
                return Wrongs::new();
            }
            return vec![format!(
                "{killed} loggers took {unaccounted} lines along, and {strange} halves"
            )];
        }
        // Not every line is an event: the warnings of a start, and of a service whose program is missing, begin anew
        // with each upgrade.
        let others = 100 + OTHERS * begun;
        if missing <= told && told <= missing + others {
            return Wrongs::new();
        }
        vec![format!(
            "{missing} lines are missing, and {told} were told to be"
        )]
    }
}
