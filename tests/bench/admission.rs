//! Measures what a decision on who may come in costs, by the number of networks.
#![allow(dead_code, reason = "a decision needs a part of these rooms")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that fails ends, and one that does not is printed"
)]

#[path = "../../src/admit/mod.rs"]
mod admit;
#[path = "../../src/model/mod.rs"]
mod model;

use admit::policy::Policy;
use admit::rules::Rules;
use model::admission::Member;
use model::network::Network;
use model::peer::{Peer, PeerFacts};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How many networks, and how many decisions are timed at once, and how often.
const SIZES: [usize; 4] = [0, 10, 1_000, 100_000];
const PEERS: usize = 4_096;
const ROUNDS: usize = 100;

/// Numbers that look random and are the same in every run: xorshift64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn ip(&mut self, is_v6: bool) -> IpAddr {
        if is_v6 {
            let low = u128::from(self.next());
            IpAddr::V6(Ipv6Addr::from_bits((u128::from(self.next()) << 64) | low))
        } else {
            IpAddr::V4(Ipv4Addr::from(
                self.next().to_be_bytes()[..4]
                    .first_chunk()
                    .copied()
                    .unwrap(),
            ))
        }
    }
}

/// Networks of every length, so that every table there can be is there.
fn networks(count: usize, is_v6: bool, numbers: &mut Numbers) -> Vec<(IpAddr, u8)> {
    let lens = if is_v6 { 8..=128 } else { 8..=32 };
    lens.cycle()
        .take(count)
        .map(|len| (numbers.ip(is_v6), len))
        .collect()
}

/// Peers of which every other one is within one of the networks.
fn peers(networks: &[(IpAddr, u8)], is_v6: bool, numbers: &mut Numbers) -> Vec<Peer> {
    let any = |place: usize, numbers: &mut Numbers| match networks.len() {
        0 => numbers.ip(is_v6),
        _ if place.is_multiple_of(2) => numbers.ip(is_v6),
        len => networks[usize::try_from(numbers.below(len as u64)).unwrap()].0,
    };
    (0..PEERS)
        .map(|place| Peer::Inet(SocketAddr::new(any(place, numbers), 4711)))
        .collect()
}

/// The time of one decision: the median of the rounds.
fn time(policy: &Policy, peers: &[Peer]) -> Duration {
    let (host, ident) = (None, None);
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for peer in peers {
                black_box(policy.judge(&PeerFacts {
                    peer: black_box(peer),
                    host,
                    ident,
                }));
            }
            start.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2] / u32::try_from(peers.len()).unwrap()
}

fn main() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    println!(
        "Nanoseconds for a decision, the median of {ROUNDS} rounds of {PEERS}, by the number of networks:\n"
    );
    print!("| networks |");
    SIZES.iter().for_each(|size| print!(" {size} |"));
    println!("\n|---|{}", "---|".repeat(SIZES.len()));
    for (family, is_v6) in [("IPv4, 25 lengths", false), ("IPv6, 121 lengths", true)] {
        for kind in ["--deny", "--rules"] {
            print!("| {family}, {kind} |");
            for size in SIZES {
                let networks = networks(size, is_v6, &mut numbers);
                let policy = if kind == "--deny" {
                    let network = |(ip, len)| Member::Network(Network::new(ip, len).unwrap());
                    let deny: Vec<Member> = networks.iter().copied().map(network).collect();
                    Policy::new(&[], &deny, None)
                } else {
                    let line = |(ip, len): &(IpAddr, u8)| format!("{ip}/{len}:deny\n");
                    let text: String = networks.iter().map(line).collect();
                    let rules = Rules::read(b"rules", text.as_bytes()).unwrap();
                    Policy::new(&[], &[], Some(rules))
                };
                let peers = peers(&networks, is_v6, &mut numbers);
                print!(" {} |", time(&policy, &peers).as_nanos());
            }
            println!();
        }
    }
}
