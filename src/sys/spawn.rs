//! Spawning without waiting: a child starts on one of a few slots of our memory and leaves it by execve(2), while skd
//! goes on.
//!
//! A child is made by clone(2) with CLONE_VM and without CLONE_VFORK: no page table is copied, and skd is not suspended
//! until the child has become PROG. All that the child touches until then belongs to its slot: stack, pointers, the
//! connection's own environment, the number of the connection, an errno to report. The kernel clears the slot's thread
//! id when the child's use of our memory ends, by exec or exit (CLONE_CHILD_CLEARTID): the slot is free again, and no
//! call is needed to learn it. A child that is stopped or slow on its way holds its slot and nothing else. What kills all
//! that share a memory kills skd with such a child: the out-of-memory killer, and before Linux 5.16 a core dump.

use crate::sys::errno::{Errno, check};
use crate::sys::limits::FileLimit;
use crate::sys::program::Program;
use crate::sys::raw;
use crate::sys::signal::{self, DEFAULT, IGNORE, KernelAction, SET_BYTES, Signals};
use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// How many children may be on their way to execve at once. More would help only if exec took longer than accepting a
/// handful of connections on every core.
const SLOTS: usize = 8;
/// A child's stack, its guard page aside. The child uses a few hundred bytes.
const STACK_BYTES: usize = 32 * 1024;
/// What a child exits with that could not become PROG, as a shell does.
const NOT_EXECUTED: usize = 127;
/// The connection's own strings fit into this without growing.
const STRINGS_BYTES: usize = 2048;

/// What the child reads and writes, at an address that does not change. While the slot is in use skd touches only the
/// two atomics.
struct Shared {
    /// Not 0 from before clone until the kernel clears it: the child still uses our memory.
    in_use: AtomicI32,
    /// The errno of a failed execve, 0 if there was none.
    failed: AtomicI32,
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    signals: Signals,
    /// A child's limit of descriptors, where ours is another.
    files: Option<FileLimit>,
    conn: c_int,
    /// One past the last descriptor that becomes the connection: 2, or 3 where stderr does too.
    conn_until: c_int,
}

struct Slot {
    shared: NonNull<Shared>,
    /// The upper end, where a stack begins.
    stack_top: NonNull<c_void>,
    /// The connection's own environment: `NAME=VALUE`, each ended by NUL.
    strings: Vec<u8>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// Keeps path, argv and environment alive while a child reads them.
    program: Option<Rc<Program>>,
    /// The child that used the slot last.
    pid: i32,
}

/// The slots, and the failures that have not been asked for yet.
pub(crate) struct Spawner {
    /// Never freed: a child may still be on its way to execve when skd ends, and reads its slot until then.
    slots: ManuallyDrop<Vec<Slot>>,
    /// Which slot to look at first: the one after the last used.
    turn: usize,
    /// What a child is to find.
    signals: Signals,
    /// A child's limit of descriptors, where ours is another.
    files: Option<FileLimit>,
    /// Failed execs whose slot was used again before their end was seen.
    failures: Vec<(i32, Errno)>,
}

/// A slot that nobody uses, ready to be filled in.
pub(crate) struct Vacancy<'a> {
    slot: &'a mut Slot,
    signals: Signals,
    files: Option<FileLimit>,
}

impl Spawner {
    /// `signals` are what a child is to find, `files` its limit of descriptors where ours is another.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new(signals: Signals, files: Option<FileLimit>) -> Result<Self, Errno> {
        let slots = (0..SLOTS)
            .map(|_| Slot::new())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            slots: ManuallyDrop::new(slots),
            turn: 0,
            signals,
            files,
            failures: Vec::new(),
        })
    }

    /// Whether a slot is free. If none is, waits for one, but not longer than `patience`.
    pub(crate) fn has_vacancy(&self, patience: Duration) -> bool {
        if self.free_slot().is_none() {
            Self::wait(self.slots.iter(), patience);
        }
        self.free_slot().is_some()
    }

    /// A free slot, if there is one.
    pub(crate) fn vacancy(&mut self) -> Option<Vacancy<'_>> {
        let place = self.free_slot()?;
        self.turn = (place + 1) % SLOTS;
        self.keep_failure(place);
        let slot = self.slots.get_mut(place)?;
        slot.strings.clear();
        Some(Vacancy {
            slot,
            signals: self.signals,
            files: self.files,
        })
    }

    /// Waits until the child `pid` has become PROG or has ended.
    pub(crate) fn wait_for_exec(&self, pid: i32) {
        let Some(slot) = self.slots.iter().find(|slot| slot.pid == pid) else {
            return;
        };
        while slot.in_use() != 0 {
            Self::wait(std::iter::once(slot), Duration::from_millis(100));
        }
    }

    fn free_slot(&self) -> Option<usize> {
        let order = (self.turn..SLOTS).chain(0..self.turn);
        order.into_iter().find(|place| {
            self.slots
                .get(*place)
                .is_some_and(|slot| slot.in_use() == 0)
        })
    }

    /// A failed exec in the slot is remembered until its child is reaped. No more are kept than there are children.
    fn keep_failure(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        let pid = std::mem::take(&mut slot.pid);
        if let Some(errno) = slot.take_failure() {
            self.failures.push((pid, errno));
        }
    }

    /// Why the child `pid`, which has just been reaped, did not become PROG; `None` if it did.
    pub(crate) fn failure_of(&mut self, pid: i32) -> Option<Errno> {
        for slot in self.slots.iter_mut() {
            if slot.pid == pid {
                slot.pid = 0;
                return slot.take_failure();
            }
        }
        let place = self
            .failures
            .iter()
            .position(|(failed, _)| *failed == pid)?;
        Some(self.failures.swap_remove(place).1)
    }

    /// futex_waitv(2) on the thread ids of slots in use: until one is cleared, or `patience` has passed. If one is free
    /// already, there is nothing to wait for.
    fn wait<'a>(slots: impl Iterator<Item = &'a Slot>, patience: Duration) {
        // SAFETY: futex_waitv is numbers, for which all zeros is a value.
        let mut waits: [libc::futex_waitv; SLOTS] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (wait, slot) in waits.iter_mut().zip(slots) {
            *wait = slot.as_futex();
            if wait.val == 0 {
                return;
            }
            count += 1;
        }
        let deadline = after(patience);
        let flags = 0;
        // SAFETY: the kernel reads `count` entries and one timespec, which outlive the call; the words that the entries
        // name belong to slots, which live longer.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waits.as_ptr(),
                count,
                flags,
                &raw const deadline,
                libc::CLOCK_MONOTONIC,
            )
        };
        if woken == -1 && Errno::last() == Errno(libc::ENOSYS) {
            // Before Linux 5.16: look again in a while.
            std::thread::sleep(patience.min(Duration::from_millis(1)));
        }
    }
}

/// The monotonic clock's time when `span` will have passed.
fn after(span: Duration) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec into `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let nanos = now.tv_nsec + libc::c_long::from(span.subsec_nanos().cast_signed());
    let secs = now.tv_sec + libc::time_t::try_from(span.as_secs()).unwrap_or(0);
    libc::timespec {
        tv_sec: secs + nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    }
}

impl Slot {
    fn new() -> Result<Self, Errno> {
        let shared = Box::new(Shared {
            in_use: AtomicI32::new(0),
            failed: AtomicI32::new(0),
            path: null(),
            argv: null(),
            envp: null(),
            signals: Signals::default(),
            files: None,
            conn: -1,
            conn_until: 0,
        });
        let shared = NonNull::from(Box::leak(shared));
        let strings = Vec::with_capacity(STRINGS_BYTES);
        Ok(Self {
            shared,
            stack_top: stack()?,
            strings,
            argv: Vec::new(),
            envp: Vec::new(),
            program: None,
            pid: 0,
        })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: leaked in `new`, so it lives for ever; a child writes nothing but the atomics.
        unsafe { self.shared.as_ref() }
    }

    fn in_use(&self) -> i32 {
        self.shared().in_use.load(Ordering::Acquire)
    }

    fn take_failure(&self) -> Option<Errno> {
        match self.shared().failed.swap(0, Ordering::Relaxed) {
            0 => None,
            errno => Some(Errno(errno)),
        }
    }

    fn as_futex(&self) -> libc::futex_waitv {
        // SAFETY: futex_waitv is numbers, for which all zeros is a value.
        let mut wait: libc::futex_waitv = unsafe { std::mem::zeroed() };
        wait.val = u64::from(self.in_use().cast_unsigned());
        wait.uaddr = self.shared().in_use.as_ptr().expose_provenance() as u64;
        wait.flags = libc::FUTEX2_SIZE_U32.cast_unsigned(); // not private: the kernel wakes a shared futex
        wait
    }
}

/// mmap(2): a stack with a page below it that nobody can write to. Returns its upper end.
fn stack() -> Result<NonNull<c_void>, Errno> {
    // SAFETY: the call only asks for a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
    );
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let bottom = unsafe { libc::mmap(null_mut(), page + STACK_BYTES, protection, flags, -1, 0) };
    if bottom == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the lowest page of the mapping just made, which nothing uses yet.
    check(unsafe { libc::mprotect(bottom, page, libc::PROT_NONE) })?;
    // SAFETY: one past the end of the same mapping; page-aligned, as every ABI wants a stack to be at least.
    let top = unsafe { bottom.byte_add(page + STACK_BYTES) };
    NonNull::new(top).ok_or(Errno(libc::ENOMEM))
}

impl Vacancy<'_> {
    /// Where the connection's own environment goes: `NAME=VALUE`, each ended by NUL.
    pub(crate) fn strings(&mut self) -> &mut Vec<u8> {
        &mut self.slot.strings
    }

    /// clone(2): starts `program` with `conn` on descriptors 0 and 1, and on 2 if `stderr_too`. The child runs, in this
    /// order, raw system calls only: rt_sigaction for each signal that skd has otherwise than the child, prlimit64,
    /// dup3 onto 0, 1 (and 2), rt_sigprocmask,
    /// execve; on failure it notes the errno and exits 127.
    ///
    /// Returns the pid; whether PROG could be executed shows later, `Spawner::failure_of`.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(crate) fn spawn(
        self,
        program: &Rc<Program>,
        conn: BorrowedFd<'_>,
        stderr_too: bool,
    ) -> Result<i32, Errno> {
        let until = if stderr_too { 3 } else { 2 };
        self.start(program, conn.as_raw_fd(), until)
    }

    /// The same with the standard descriptors as they are.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(crate) fn spawn_plain(self, program: &Rc<Program>) -> Result<i32, Errno> {
        self.start(program, -1, 0)
    }

    fn start(self, program: &Rc<Program>, conn: c_int, conn_until: c_int) -> Result<i32, Errno> {
        let slot = self.slot;
        fill(&mut slot.argv, &program.argv.pointers, &[]);
        fill(&mut slot.envp, &program.environment.pointers, &slot.strings);
        slot.program = Some(Rc::clone(program));
        // SAFETY: the slot is free, so no child reads this; skd has no second reference while it is written.
        let shared = unsafe { slot.shared.as_mut() };
        shared.path = program.path.as_ptr();
        shared.argv = slot.argv.as_ptr();
        shared.envp = slot.envp.as_ptr();
        shared.signals = self.signals;
        shared.files = self.files;
        shared.conn = conn;
        shared.conn_until = conn_until;
        // Set here and not by CLONE_CHILD_SETTID: the slot must be in use before the child first runs.
        shared.in_use.store(1, Ordering::Release);
        let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        let word: *mut i32 = shared.in_use.as_ptr();
        let (top, argument) = (slot.stack_top.as_ptr(), slot.shared.as_ptr().cast());
        let no_thread: *mut c_void = null_mut();
        // SAFETY: `become_prog` runs on the slot's own stack, of which nothing is in use, and touches only the slot;
        // the slot stays as it is until the kernel clears `word`, which lives for ever.
        let pid = unsafe {
            libc::clone(
                become_prog,
                top,
                flags,
                argument,
                no_thread,
                no_thread,
                word,
            )
        };
        match check(pid) {
            Ok(pid) => {
                slot.pid = pid;
                Ok(pid)
            }
            Err(errno) => {
                slot.shared().in_use.store(0, Ordering::Release);
                Err(errno)
            }
        }
    }
}

/// Pointers to `base` and to each string in `more`, ended by null.
fn fill(pointers: &mut Vec<*const c_char>, base: &[*const c_char], more: &[u8]) {
    pointers.clear();
    pointers.extend_from_slice(base);
    pointers.extend(
        more.split_inclusive(|byte| *byte == 0)
            .map(|string| string.as_ptr().cast()),
    );
    pointers.push(null());
}

/// The child. It shares skd's memory, thread-local errno included: nothing here may call libc, allocate, lock or panic.
extern "C" fn become_prog(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the slot's Shared, which nobody writes while this child uses it.
    let shared = unsafe { &*argument.cast::<Shared>() };
    let mut number: c_int = 1;
    while number <= signal::LAST {
        let bit = signal::bit(number);
        if shared.signals.to_default & bit != 0 {
            set_action(number, &DEFAULT_ACTION);
        } else if shared.signals.to_ignored & bit != 0 {
            set_action(number, &IGNORED_ACTION);
        }
        number += 1;
    }
    if let Some(files) = &shared.files {
        let limit = (&raw const *files).expose_provenance();
        // SAFETY: the kernel reads one limit of its own layout; 0 is this process.
        unsafe { raw::syscall(libc::SYS_prlimit64, [0, RLIMIT_NOFILE, limit, 0]) };
    }
    let mut number: c_int = 0;
    while number < shared.conn_until {
        let (from, to) = (
            shared.conn.cast_unsigned() as usize,
            number.cast_unsigned() as usize,
        );
        // SAFETY: the call takes no pointer. The child's descriptor table is its own.
        unsafe { raw::syscall(libc::SYS_dup3, [from, to, 0, 0]) };
        number += 1;
    }
    let set = (&raw const shared.signals.blocked).expose_provenance();
    // SAFETY: the kernel reads a set of SET_BYTES bytes.
    unsafe { raw::syscall(libc::SYS_rt_sigprocmask, [SIG_SETMASK, set, 0, SET_BYTES]) };
    let (path, argv, envp) = (
        shared.path.expose_provenance(),
        shared.argv.expose_provenance(),
        shared.envp.expose_provenance(),
    );
    // SAFETY: path, argv and envp are as execve(2) wants them, and stay while the slot is in use.
    let failed = unsafe { raw::syscall(libc::SYS_execve, [path, argv, envp, 0]) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel returns -4095 to -1 here"
    )]
    shared.failed.store(-failed as i32, Ordering::Relaxed);
    loop {
        // SAFETY: the call takes no pointer and does not return.
        unsafe { raw::syscall(libc::SYS_exit_group, [NOT_EXECUTED, 0, 0, 0]) };
    }
}

/// rt_sigaction(2), in the child.
fn set_action(number: c_int, action: &'static KernelAction) {
    let action = (&raw const *action).expose_provenance();
    let arguments = [number.cast_unsigned() as usize, action, 0, SET_BYTES];
    // SAFETY: the kernel reads one sigaction of its own layout.
    unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
}

static DEFAULT_ACTION: KernelAction = DEFAULT;
static IGNORED_ACTION: KernelAction = IGNORE;
const SIG_SETMASK: usize = libc::SIG_SETMASK.cast_unsigned() as usize;
const RLIMIT_NOFILE: usize = libc::RLIMIT_NOFILE as usize;
