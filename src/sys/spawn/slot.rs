//! A slot: all that a child reads and writes of our memory until it leaves it.

use crate::sys::errno::{Errno, check};
use crate::sys::hold::Turn;
use crate::sys::kernel;
use crate::sys::limits::FileLimit;
use crate::sys::program::{Program, strings_of};
use crate::sys::signal::Signals;
use crate::sys::spawn::Handing;
use crate::sys::spawn::child::become_prog;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};

/// A child's stack, its guard page aside. The child uses a few hundred bytes.
const STACK_BYTES: usize = 32 * 1024;
/// The connection's own strings fit into this without growing.
const STRINGS_BYTES: usize = 2048;
/// The digits of the greatest pid there can be.
pub(super) const PID_DIGITS: usize = 10;
/// Where the child writes its own pid; a NUL ends the string behind it.
const LISTEN_PID: &[u8; 22] = b"LISTEN_PID=0000000000\0";

/// What the child reads, at an address that does not change. While the slot is in use skd touches only the atomic.
pub(super) struct Shared {
    /// Not 0 from before clone until the kernel clears it: the child still uses our memory.
    in_use: AtomicI32,
    /// The descriptor to say in why it could not become PROG.
    pub(super) reports: c_int,
    pub(super) path: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    pub(super) signals: Signals,
    /// A child's limit of descriptors, where ours is another.
    pub(super) files: Option<FileLimit>,
    /// It leads a session of its own.
    pub(super) leads_session: bool,
    /// What is handed over.
    pub(super) fd: c_int,
    pub(super) handing: Handing,
    /// The value of LISTEN_PID, which only the child knows: PID_DIGITS bytes and a NUL. Null where there is none.
    pub(super) listen_pid: *mut u8,
    /// What the child waits for first.
    pub(super) turn: Option<Turn>,
}

pub(super) struct Slot {
    shared: NonNull<Shared>,
    /// The upper end, where a stack begins.
    stack_top: NonNull<c_void>,
    /// The connection's own environment: `NAME=VALUE`, each ended by NUL.
    pub(super) strings: Vec<u8>,
    /// They take the place of variables that all children have.
    pub(super) replaces: bool,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// Keeps path, argv and environment alive while a child reads them.
    program: Option<Rc<Program>>,
    /// The child that used the slot last.
    pub(super) pid: i32,
}

impl Slot {
    /// # Errors
    /// ENOMEM.
    pub(super) fn new() -> Result<Self, Errno> {
        let shared = Box::new(Shared {
            in_use: AtomicI32::new(0),
            reports: -1,
            path: null(),
            argv: null(),
            envp: null(),
            signals: Signals::default(),
            files: None,
            leads_session: false,
            fd: -1,
            handing: Handing::default(),
            listen_pid: null_mut(),
            turn: None,
        });
        let shared = NonNull::from(Box::leak(shared));
        let strings = Vec::with_capacity(STRINGS_BYTES);
        Ok(Self {
            shared,
            stack_top: stack()?,
            strings,
            replaces: false,
            argv: Vec::new(),
            envp: Vec::new(),
            program: None,
            pid: 0,
        })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: leaked in `new`, so it lives for ever; while a child reads it only the kernel writes, to the atomic.
        unsafe { self.shared.as_ref() }
    }

    pub(super) fn in_use(&self) -> i32 {
        self.shared().in_use.load(Ordering::Acquire)
    }

    pub(super) fn as_futex(&self) -> libc::futex_waitv {
        // SAFETY: futex_waitv is numbers, for which all zeros is a value.
        let mut wait: libc::futex_waitv = unsafe { std::mem::zeroed() };
        wait.val = u64::from(self.in_use().cast_unsigned());
        wait.uaddr = self.shared().in_use.as_ptr().expose_provenance() as u64;
        wait.flags = libc::FUTEX2_SIZE_U32.cast_unsigned(); // not private: the kernel wakes a shared futex
        wait
    }

    /// clone(2): a child that becomes `program`, with `fd` where `handing` says. The slot must be free.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(super) fn start(
        &mut self,
        program: &Rc<Program>,
        (fd, handing, turn): (c_int, Handing, Option<Turn>),
        (signals, files): (Signals, Option<FileLimit>),
        reports: c_int,
    ) -> Result<i32, Errno> {
        let pid_at = handing.third.then(|| {
            self.strings.extend_from_slice(LISTEN_PID);
            self.strings.len() - 1 - PID_DIGITS
        });
        fill(&mut self.argv, &program.argv.pointers, &[]);
        if self.replaces {
            let base = program.environment.without(&self.strings);
            fill(&mut self.envp, &base, &self.strings);
        } else {
            fill(&mut self.envp, &program.environment.pointers, &self.strings);
        }
        self.program = Some(Rc::clone(program));
        let digits = pid_at.and_then(|at| self.strings.get_mut(at..));
        let listen_pid = digits.map_or(null_mut(), <[u8]>::as_mut_ptr);
        // SAFETY: the slot is free, so no child reads this; skd has no second reference while it is written.
        let shared = unsafe { self.shared.as_mut() };
        shared.path = program.path.as_ptr();
        shared.argv = self.argv.as_ptr();
        shared.envp = self.envp.as_ptr();
        shared.signals = signals;
        shared.files = files;
        shared.leads_session = program.leads_session;
        shared.fd = fd;
        shared.handing = handing;
        shared.listen_pid = listen_pid;
        // skd itself waits there until the child is gone from its memory, and could release nobody.
        shared.turn = turn.filter(|_| kernel::WAITING == 0);
        shared.reports = reports;
        // Set here and not by CLONE_CHILD_SETTID: the slot must be in use before the child first runs.
        shared.in_use.store(1, Ordering::Release);
        let flags = kernel::WAITING | libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        let word: *mut i32 = shared.in_use.as_ptr();
        let (top, argument) = (self.stack_top.as_ptr(), self.shared.as_ptr().cast());
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
                self.pid = pid;
                if kernel::WAITING != 0 {
                    // The child has left our memory. valgrind makes a fork of this clone, whose kernel clears a copy.
                    self.shared().in_use.store(0, Ordering::Release);
                }
                Ok(pid)
            }
            Err(errno) => {
                self.shared().in_use.store(0, Ordering::Release);
                Err(errno)
            }
        }
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

/// Pointers to `base` and to each string in `more`, ended by null.
fn fill(pointers: &mut Vec<*const c_char>, base: &[*const c_char], more: &[u8]) {
    pointers.clear();
    pointers.extend_from_slice(base);
    pointers.extend(strings_of(more));
    pointers.push(null());
}
