//! Spawning without waiting: children that are slow to become PROG, that never do, or that are stopped or killed on the
//! way.

mod calls;

use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd, field};
use crate::kit::strace::Strace;
use crate::kit::{Folder, eventually, executable, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::process::Command;

/// How many children may be on their way to execve(2) at once.
const SLOTS: usize = 8;

/// As in troubles: a loop that spins takes a hundred in the second that it is watched for.
const IDLE_TICKS: u64 = 30;

/// No child that starts gets beyond the beginning of this system call, until the tracer is dropped.
fn hold(skd: &Running, call: &str) -> Strace {
    let inject = format!("-e inject={call}:delay_enter=1000000000");
    Strace::on(skd, &format!("-f -o /dev/null -e trace={call} {inject}"))
}

/// skd with echo clients, all of which have a child that is held in execve(2).
fn holding(words: &str, clients: usize) -> (Running, u16, Strace, Vec<Client>) {
    let mut skd = Skd::new(words).start();
    let port = skd.port();
    let hold = hold(&skd, "execve");
    let clients = (0..clients).map(|_| Client::tcp(port)).collect();
    (skd, port, hold, clients)
}

/// The children, once there are so many; none has become PROG, or ever will while it is held.
fn held(skd: &Running, count: usize) -> Vec<i32> {
    let children = eventually("children", || {
        let children = skd.children();
        (children.len() == count).then_some(children)
    });
    for child in &children {
        assert_eq!(field(*child, "Name").unwrap(), "skd");
    }
    children
}

fn ticks(skd: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", skd.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn echo(clients: Vec<Client>) {
    for mut client in clients {
        client.says("hello").hears("hello");
        assert_eq!(client.hears_all(), "");
    }
}

#[test]
fn with_every_slot_held_skd_obeys_and_is_idle_and_serves_when_they_are_freed() {
    if !need::program("strace") {
        return;
    }
    let (mut skd, port, hold, clients) = holding("-1 -v -t 127.0.0.1:0 cat", SLOTS + 4);
    held(&skd, SLOTS);
    // An answer shows that skd has let go of the connection of the last child, which lives a moment before that.
    assert_eq!(skd.status(), "8 accepted 8 denied 0 failed 0");
    let (descriptors, before) = (skd.descriptors(), ticks(&skd));
    let warning = skd.waits_for("warning");
    let text = format!(
        "unable to start \"cat\": 8 children are on their way to execve, leaving what waits in the queue of tcp:127.0.0.1:{port}"
    );
    assert!(warning.ends_with(&text), "{warning}");
    // The second that is watched; nothing happens in it.
    Command::new("sleep").arg("1").status().unwrap();
    assert!(ticks(&skd) - before < IDLE_TICKS);
    assert_eq!(skd.status(), "8 accepted 8 denied 0 failed 0");
    assert_eq!(
        (held(&skd, SLOTS).len(), skd.descriptors()),
        (8, descriptors)
    );
    drop(hold);
    echo(clients);
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 12 denied 0 failed 0");
    assert_eq!(skd.stop().stderr.matches("warning").count(), 1);
}

#[test]
fn a_child_stopped_before_it_becomes_prog_holds_one_slot_and_nothing_else() {
    if !need::program("strace") {
        return;
    }
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let hold = hold(&skd, "dup3");
    let mut first = Client::tcp(port);
    let child = held(&skd, 1)[0];
    // It stops when the call that it is held in is done.
    kill(Pid::from_raw(child), Signal::SIGSTOP).unwrap();
    drop(hold);
    eventually("a stop", || {
        field(child, "State")?.starts_with('T').then_some(())
    });
    for _ in 0..10 {
        echo((0..SLOTS).map(|_| Client::tcp(port)).collect());
    }
    eventually("one child", || (skd.children() == [child]).then_some(()));
    assert_eq!(held(&skd, 1), [child]);
    assert_eq!(skd.status(), "1 accepted 81 denied 0 failed 0");
    kill(Pid::from_raw(child), Signal::SIGCONT).unwrap();
    first.says("hello").hears("hello");
    assert_eq!(first.hears_all(), "");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 81 denied 0 failed 0");
    skd.stop();
}

/// skd ends, and with it nobody waits any more for the children; they go on in the memory that was its own.
#[test]
fn a_stop_while_children_are_on_their_way_loses_no_client() {
    if !need::program("strace") {
        return;
    }
    let (skd, _, hold, clients) = holding("-1 -v -t 127.0.0.1:0 cat", SLOTS);
    let children = held(&skd, SLOTS);
    skd.stop();
    for child in children {
        assert_eq!(field(child, "Name").unwrap(), "skd");
    }
    drop(hold);
    echo(clients);
}

#[test]
fn quit_ends_children_that_are_on_their_way() {
    if !need::program("strace") {
        return;
    }
    let (skd, _, hold, clients) = holding("-1 -v -t 127.0.0.1:0 cat", SLOTS);
    held(&skd, SLOTS);
    skd.signal(Signal::SIGQUIT);
    assert_eq!(skd.ends().code, 0);
    drop(hold);
    for mut client in clients {
        assert_eq!(client.hears_rest(), "");
    }
}

/// Under `-S` skd waits for the first start, but only for a while.
#[test]
fn a_supervised_program_that_is_slow_to_start_does_not_make_skd_deaf() {
    if !need::program("strace") {
        return;
    }
    let slow = |what: &str| {
        let prog = Prog::new("/bin/cat");
        let words = format!("-e trace=execve -e inject=execve:{what} -P {}", prog.path);
        let skd = Skd::new("-vS --").word(&prog.path);
        let skd = skd.under(&format!("strace -D -f -qq -o /dev/null {words}"));
        (prog, skd.spawn())
    };
    let (_held, mut skd) = slow("delay_enter=1000000000");
    // Longer than skd waits; then it fails.
    let (late, mut other) = slow("delay_enter=7000000:error=EIO");
    skd.waits_for("skd: info: start ");
    let child = held(&skd, 1)[0];
    // A child that is asked to end has a signal that waits for it: skd has heard what was asked of it.
    skd.signal(Signal::SIGTERM);
    eventually("a signal", || {
        let waits = field(child, "ShdPnd")?;
        (waits != "0000000000000000").then_some(())
    });
    let tracer = field(child, "TracerPid").unwrap();
    kill(Pid::from_raw(tracer.parse().unwrap()), Signal::SIGKILL).unwrap();
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains(" signal TERM "), "{outcome:?}");
    other.waits_for(" exit 127 ");
    let stderr = other.stop().stderr;
    let reason = "Input/output error";
    let warning = format!("skd: warning: unable to run \"{}\": {reason}\n", late.path);
    assert!(stderr.contains(&warning), "{stderr}");
    assert_eq!(stderr.matches(" start ").count(), 1, "{stderr}");
}

/// PROG as a symbolic link that can be pointed elsewhere while skd runs.
struct Prog {
    folder: Folder,
    path: String,
}

impl Prog {
    fn new(target: &str) -> Self {
        let folder = Folder::new();
        let path = folder.path("prog");
        symlink(target, &path).unwrap();
        Self { folder, path }
    }

    fn becomes(&self, target: &str) {
        let new = self.folder.path("new");
        symlink(target, &new).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }
}

/// skd in whose sight there is a file system that never answers: a FUSE whose daemon, the test, does not read. When
/// the test closes it, calls that wait for it fail.
struct Silent {
    prog: Prog,
    skd: Running,
    port: u16,
    device: File,
}

impl Silent {
    fn start() -> Self {
        let prog = Prog::new("/bin/cat");
        let mut device = File::options();
        let device = device.read(true).write(true).open("/dev/fuse").unwrap();
        std::fs::create_dir(prog.folder.path("silent")).unwrap();
        let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
        let mount = prog.folder.path("silent");
        let body = format!("mount -i -t fuse -o {options} none {mount}\nexec \"$@\" 3<&-");
        let wrapper = prog.folder.script("mounted", &body);
        let skd = Skd::new("-1 -v -t 127.0.0.1:0").word(&prog.path);
        let skd = skd.descriptor(3, device.try_clone().unwrap());
        let mut skd = skd.under(&format!("unshare --mount {wrapper}")).start();
        Self {
            port: skd.port(),
            prog,
            skd,
            device,
        }
    }

    /// Clients whose children wait for the file system in execve(2), and these. Who comes later finds cat.
    fn hold(&self, count: usize) -> (Vec<Client>, Vec<i32>) {
        self.prog.becomes("silent/prog");
        let clients = (0..count).map(|_| Client::tcp(self.port)).collect();
        let children = held(&self.skd, count);
        for child in &children {
            eventually("a wait in execve(2)", || {
                field(*child, "State")?.starts_with('D').then_some(())
            });
        }
        self.prog.becomes("/bin/cat");
        (clients, children)
    }
}

/// A failure keeps its reason however often the other slots were used meanwhile.
#[test]
fn a_child_on_a_file_system_that_does_not_answer_holds_one_slot_and_nothing_else() {
    if !need::root() || !need::mounts() {
        return;
    }
    let silent = Silent::start();
    let (mut first, children) = silent.hold(1);
    let Silent {
        mut skd,
        port,
        prog,
        device,
    } = silent;
    for _ in 0..10 {
        echo((0..SLOTS).map(|_| Client::tcp(port)).collect());
    }
    eventually("one child", || (skd.children() == children).then_some(()));
    assert_eq!(skd.status(), "1 accepted 81 denied 0 failed 0");
    drop(device);
    let warning = skd.waits_for("warning");
    let reason = "Transport endpoint is not connected, closing the connection";
    let reason = format!("unable to run \"{}\": {reason}", prog.path);
    assert_eq!(
        warning,
        format!("skd: warning: {reason} of tcp:127.0.0.1:{port}")
    );
    assert_eq!(first[0].hears_rest(), "");
    assert_eq!(skd.status(), "0 accepted 81 denied 0 failed 1");
    skd.stop();
}

#[test]
fn a_child_killed_before_it_becomes_prog_leaves_its_slot_to_the_next_client() {
    if !need::root() || !need::mounts() {
        return;
    }
    let silent = Silent::start();
    let (_clients, children) = silent.hold(SLOTS);
    let mut skd = silent.skd;
    let mut next = Client::tcp(silent.port);
    assert_eq!(skd.status(), "8 accepted 8 denied 0 failed 0");
    // One of them asks the file system, and the others wait for it; only the first can be killed.
    let wchan = |child: &i32| std::fs::read_to_string(format!("/proc/{child}/wchan")).unwrap();
    let asks = |child: &&i32| wchan(child).starts_with("fuse_");
    let child = *eventually("a question", || children.iter().find(asks));
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    let end = skd.waits_for(" end ");
    let how = format!(" pid {child} signal KILL ");
    assert!(end.contains(&how), "{end}");
    next.says("hello").hears("hello");
    assert_eq!(skd.status(), "8 accepted 9 denied 0 failed 0");
    drop(silent.device);
    assert_eq!(next.hears_all(), "");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 9 denied 0 failed 7");
    skd.stop();
}

/// More failures in one turn of the loop than there are slots.
#[test]
fn every_failed_exec_is_reported_though_its_slot_was_used_again() {
    const CLIENTS: usize = 64;
    let prog = Prog::new("/bin/cat");
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0").word(&prog.path).start();
    let port = skd.port();
    executable(&prog.folder.path("text"), "\u{7f}no program");
    prog.becomes("text");
    stopped_while(&skd, || {
        (0..CLIENTS).map(|_| Client::tcp(port)).collect::<Vec<_>>()
    })
    .iter_mut()
    .for_each(|client| assert_eq!(client.hears_rest(), ""));
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 64 denied 0 failed 64");
    prog.becomes("/bin/cat");
    echo((0..CLIENTS).map(|_| Client::tcp(port)).collect());
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 128 denied 0 failed 64");
    let stderr = skd.stop().stderr;
    let reason = ": Exec format error, closing the connection of";
    assert_eq!(stderr.matches(reason).count(), 11, "{stderr}");
    assert_eq!(stderr.matches(" exit 127 ").count(), CLIENTS);
}

/// What happens while skd looks at nothing.
fn stopped_while<T>(skd: &Running, deed: impl FnOnce() -> T) -> T {
    skd.signal(Signal::SIGSTOP);
    eventually("a stop", || {
        skd.field("State").starts_with('T').then_some(())
    });
    let made = deed();
    skd.signal(Signal::SIGCONT);
    made
}

#[test]
fn a_flooded_listener_does_not_keep_the_others_waiting() {
    const FLOOD: usize = 400;
    /// Each listener has its turn before any has a second one, and a turn is far shorter than this.
    const SOON: usize = 64;
    let words = "-1 -v -t 127.0.0.1:0 -t 127.0.0.1:0 -t 127.0.0.1:0 cat";
    let mut skd = Skd::new(words).start();
    let ports = [skd.port(), skd.port(), skd.port()];
    let clients = stopped_while(&skd, || {
        let flood = (0..FLOOD).map(|_| Client::tcp(ports[0]));
        let mut clients: Vec<_> = flood.collect();
        clients.extend([Client::tcp(ports[1]), Client::tcp(ports[2])]);
        clients
    });
    echo(clients);
    let stderr = skd.stop().stderr;
    let mut accepts = stderr.lines().filter(|line| line.contains(" accept "));
    let place = |port| {
        let label = format!(" accept tcp:127.0.0.1:{port} ");
        let mut accepts = accepts.clone();
        accepts.position(|line| line.contains(&label)).unwrap()
    };
    let [flooded, second, third] = ports.map(place);
    assert!(flooded < SOON && second < SOON && third < SOON, "{stderr}");
    assert_eq!(accepts.by_ref().count(), FLOOD + 2);
}

/// A child that used more than its stack would end there and not write elsewhere.
#[test]
fn a_page_that_nobody_may_touch_is_below_each_stack() {
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    crate::kit::net::echoes(port);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", skd.pid())).unwrap();
    let regions: Vec<_> = maps
        .lines()
        .map(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(from), number(to), &rest[..4])
        })
        .collect();
    let guarded = regions.windows(2).filter(|pair| {
        let [(_, end, guard), (start, top, stack)] = pair else {
            return false;
        };
        *guard == "---p" && *stack == "rw-p" && end == start && top - start >= 32 * 1024
    });
    assert_eq!(guarded.count(), SLOTS, "{maps}");
    skd.stop();
}
