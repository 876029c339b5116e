//! seccomp(2): calls that fail as they do in containers.

use nix::libc;

/// The call of this number fails so from here on, in this thread and in whatever it starts.
pub(crate) fn forbid(number: u32, errno: i32) {
    let step = |code: u32, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf,
        k,
    };
    let verdict = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, verdict),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: steps.as_mut_ptr(),
    };
    let [none, one, mode] = [0, 1, libc::c_ulong::from(libc::SECCOMP_MODE_FILTER)];
    #[allow(unsafe_code, reason = "nix has no call for this")]
    // SAFETY: the call takes no pointer.
    let barred = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, none, none, none) };
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the program and its steps outlive the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(
        (barred, done),
        (0, 0),
        "{}",
        std::io::Error::last_os_error()
    );
}
