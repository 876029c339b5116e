//! Where the logs of the run arrive: a syslogd that can be restarted, and a file that is rotated.

use crate::instance::{Instance, locked};
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

const DEV_LOG: &str = "/dev/log";

/// What listens on /dev/log. When it stops nothing is lost that the kernel has taken for it: a real one would lose that,
/// and nobody could tell whose loss it was.
pub(crate) struct Syslogd {
    socket: UnixDatagram,
    thread: JoinHandle<()>,
}

impl Syslogd {
    pub(crate) fn start(take: impl Fn(&str) + Send + 'static) -> Self {
        let socket = UnixDatagram::bind(DEV_LOG).unwrap();
        fs::set_permissions(DEV_LOG, Permissions::from_mode(0o666)).unwrap();
        let hears = socket.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            let mut heard = vec![0; 65536];
            while let Ok(len @ 1..) = hears.recv(&mut heard) {
                take(&String::from_utf8_lossy(&heard[..len]));
            }
        });
        Self { socket, thread }
    }

    /// Takes nothing more, and reads what there is.
    pub(crate) fn stop(self) {
        self.socket.shutdown(Shutdown::Read).unwrap();
        self.thread.join().unwrap();
        fs::remove_file(DEV_LOG).unwrap();
    }
}

/// Gives an instance what syslogd hears of it.
pub(crate) fn taker(skd: &Arc<Instance>) -> impl Fn(&str) + Send + 'static {
    let skd = Arc::clone(skd);
    let header = format!(" soak[{}]: ", skd.pid);
    move |message| {
        let line = message
            .split_once(&header)
            .map_or(message, |(_, line)| line);
        locked(&skd.seen).line(line);
    }
}

/// The file of an instance's log, and those that it was.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    /// How many were read to their end, and how much of the next.
    read: u64,
    offset: u64,
}

impl LogFiles {
    /// Reads on, while nobody rotates.
    pub(crate) fn read(&mut self, skd: &Instance) {
        while self.read < skd.rotations.load(Ordering::SeqCst) {
            let path = skd.path(&format!("log.{}", self.read));
            self.read_from(skd, &path);
            fs::remove_file(path).unwrap();
            (self.read, self.offset) = (self.read + 1, 0);
        }
        self.offset += self.read_from(skd, &skd.path("log"));
    }

    /// The whole lines behind the offset; returns how long they are.
    fn read_from(&self, skd: &Instance, path: &str) -> u64 {
        let mut file = File::open(path).unwrap();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let mut seen = locked(&skd.seen);
        String::from_utf8_lossy(&text[..whole])
            .lines()
            .for_each(|line| seen.line(line));
        whole as u64
    }
}
