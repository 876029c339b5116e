//! Names looked up in the system's databases, never while others wait to be served: services, hosts, interfaces, users.

use crate::sys::sockaddr::SockAddr;
use nix::unistd::{Group, User};
use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// getservbyname(3): the port of a service of this protocol, `tcp` or `udp`; `None` if there is none of that name.
pub(crate) fn port_of_service(name: &str, protocol: &CStr) -> Option<u16> {
    let name = CString::new(name).ok()?;
    // SAFETY: both strings end in NUL and outlive the call.
    let entry = unsafe { libc::getservbyname(name.as_ptr(), protocol.as_ptr()) };
    // SAFETY: the answer is null or points to libc's static entry, which only another such call changes; just the one
    // thread that starts and serves makes it. getaddrinfo(3), which others may be in, has entries of its own.
    let port = unsafe { entry.as_ref() }?.s_port;
    u16::try_from(port).ok().map(u16::from_be)
}

/// getaddrinfo(3) without AI_ADDRCONFIG: every address of a host, each once, in the resolver's order.
///
/// # Errors
/// The resolver's own words.
pub(crate) fn addresses_of_host(name: &str) -> Result<Vec<IpAddr>, String> {
    let mut addresses = Vec::new();
    for address in (name, 0)
        .to_socket_addrs()
        .map_err(|error| resolver_words(&error))?
    {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

/// getnameinfo(3): the name of an address, by whatever the system asks for it; `None` where it has none.
pub(crate) fn host_of_address(ip: IpAddr) -> Option<Vec<u8>> {
    let address = SockAddr::inet(SocketAddr::new(ip, 0));
    let mut name = [0_u8; libc::NI_MAXHOST as usize];
    // SAFETY: the call reads the address, which has as many bytes as it says, and writes at most as many as `name` has
    // into it, NUL included.
    let failed = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            name.as_mut_ptr().cast(),
            libc::NI_MAXHOST,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    (failed == 0).then(|| name.to_bytes().to_vec())
}

/// The resolver's reason without the standard library's introduction to it.
fn resolver_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(": ")
        .map_or(text.clone(), |(_, reason)| reason.to_owned())
}

/// if_nametoindex(3): the number of a network interface, by its name or as digits.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    match nix::net::if_::if_nametoindex(name) {
        Ok(index) => Some(index),
        Err(_) => name.parse().ok().filter(|index| *index != 0),
    }
}

/// Room for the name of a network interface.
pub(crate) type InterfaceName = [u8; libc::IF_NAMESIZE];

/// if_indextoname(3): the name of a network interface, written into `buffer`.
pub(crate) fn interface_name(index: u32, buffer: &mut InterfaceName) -> Option<&[u8]> {
    // SAFETY: the call writes at most IF_NAMESIZE bytes, NUL included, into `buffer`, which has that many.
    let found = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(buffer).ok().map(CStr::to_bytes)
}

/// getpwnam_r(3): uid and primary gid of a user, by name.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    User::from_name(name)
        .ok()
        .flatten()
        .map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

/// getgrnam_r(3): the gid of a group, by name.
pub(crate) fn group(name: &str) -> Option<u32> {
    Group::from_name(name)
        .ok()
        .flatten()
        .map(|group| group.gid.as_raw())
}
