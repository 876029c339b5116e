//! Decides who may come in, by lists and rules together, and says why.

use crate::admit::lists::{Listed, Lists};
use crate::admit::rules::{Found, Rules, Variable};
use crate::model::admission::{Inquiry, Member};
use crate::model::peer::{Peer, PeerFacts};
use crate::model::text::{foreign, harmless};
use std::fmt;

/// Who may come in: `--allow`, `--deny` and `--rules`. Where there are both, both must allow.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    lists: Lists,
    rules: Option<Rules>,
}

/// The decision on a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Verdict<'a> {
    pub(crate) allows: bool,
    pub(crate) why: Why<'a>,
    /// To be set in the child's environment after everything else, each name once; none where it is denied.
    pub(crate) variables: &'a [Variable],
}

/// What decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why<'a> {
    Listed(Listed),
    Rule(Found<'a>),
    NoRule,
}

/// As it stands behind the peer in the log: `rule 10.:deny`, `--deny 10.0.0.0/8`.
impl fmt::Display for Why<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(listed) => listed.fmt(out),
            Self::Rule(found) => write!(out, "rule {found}"),
            Self::NoRule => out.write_str("no rule matches"),
        }
    }
}

impl Policy {
    pub(crate) fn new(allow: &[Member], deny: &[Member], rules: Option<Rules>) -> Self {
        Self {
            lists: Lists::new(allow, deny),
            rules,
        }
    }

    /// Rules that have been read again take the place of the old ones.
    pub(crate) fn replace(&mut self, rules: Rules) {
        self.rules = Some(rules);
    }

    /// Whether the name of a peer's host can make a difference.
    pub(crate) fn asks_host(&self) -> bool {
        self.rules.as_ref().is_some_and(Rules::asks_host)
    }

    /// Whether what ident says of a peer can make a difference.
    pub(crate) fn asks_ident(&self) -> bool {
        self.rules.as_ref().is_some_and(Rules::asks_ident)
    }

    /// The same by lists alone, where rules are to be asked later.
    pub(crate) fn judge_by_lists(&self, peer: &Peer) -> Verdict<'_> {
        let listed = self.lists.judge(peer);
        Verdict {
            allows: listed.allows(),
            why: Why::Listed(listed),
            variables: &[],
        }
    }

    /// Whether a peer may come in. Lists need no name, so that whom they deny is denied before anything is looked up.
    pub(crate) fn judge(&self, facts: &PeerFacts<'_>) -> Verdict<'_> {
        let by_list = self.judge_by_lists(facts.peer);
        match &self.rules {
            Some(rules) if by_list.allows => match rules.judge(facts) {
                Some(found) => Verdict {
                    allows: found.allows,
                    why: Why::Rule(found),
                    variables: if found.allows { found.variables } else { &[] },
                },
                None => Verdict {
                    why: Why::NoRule,
                    ..by_list
                },
            },
            _ => by_list,
        }
    }

    /// What `--check-peer` prints, `allow PEER WHY` or `deny PEER WHY` and a line `set VAR=VALUE` for each variable;
    /// and whether the peer is allowed.
    pub(crate) fn answer(&self, inquiry: &Inquiry) -> (String, bool) {
        let verdict = self.judge(&inquiry.facts());
        let deed = if verdict.allows { "allow" } else { "deny" };
        let mut text = format!("{deed} {} {}\n", foreign(&inquiry.word), verdict.why);
        for Variable { name, value } in verdict.variables {
            text += &format!("set {}={}\n", harmless(name), harmless(value));
        }
        (text, verdict.allows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::Network;
    use crate::model::peer::{Credentials, Peer};
    use std::net::SocketAddr;

    fn rules(text: &str) -> Rules {
        Rules::read(b"rules", text.as_bytes()).unwrap()
    }

    /// What is answered to `[INFO@]ADDRESS[=HOST]`.
    fn answer(policy: &Policy, word: &str) -> String {
        let (ident, rest) = match word.rsplit_once('@') {
            Some((ident, rest)) => (Some(ident), rest),
            None => (None, word),
        };
        let (ip, host) = match rest.split_once('=') {
            Some((ip, host)) => (ip, Some(host)),
            None => (rest, None),
        };
        let (text, allows) = policy.answer(&Inquiry {
            word: word.as_bytes().into(),
            peer: Peer::Inet(SocketAddr::new(ip.parse().unwrap(), 0)),
            host: host.map(|host| host.as_bytes().into()),
            ident: ident.map(|ident| ident.as_bytes().into()),
        });
        assert_eq!(allows, text.starts_with("allow "));
        text
    }

    #[test]
    fn the_first_rule_from_the_most_specific_on_decides() {
        let policy = Policy::new(
            &[],
            &[],
            Some(rules(
                "# every kind, the most general first\n\
                 :deny\n\
                 =:allow,K=\"host\"\n\
                 =.org:deny\n\
                 =.example.org:allow\n\
                 0.0.0.0/0:allow,K=\"v4\"\n\
                 10.:deny\n\
                 10.0.0.0/8:allow\n\
                 10.0.0.0/9:allow,K=\"nine\"\n\
                 10.1.:deny\n\
                 10.1.2.3/32:allow,K=\"net\"\n\
                 =b.example.org:deny\n\
                 10.1.2.4:allow\n\
                 joe@=b.example.org:allow,K=\"joe\"\n\
                 joe@10.1.2.4:deny\n\
                 2001:db8::/32:allow\n\
                 2001:db8::1:deny\n",
            )),
        );
        let table = [
            (
                "joe@10.1.2.4=b.example.org",
                "deny",
                "joe@10.1.2.4:deny",
                "",
            ),
            (
                "joe@10.1.2.5=B.Example.ORG",
                "allow",
                "joe@=b.example.org:allow",
                "set K=joe\n",
            ),
            ("eve@10.1.2.4=b.example.org", "allow", "10.1.2.4:allow", ""),
            ("10.1.2.4", "allow", "10.1.2.4:allow", ""),
            ("10.1.2.3=b.example.org", "deny", "=b.example.org:deny", ""),
            (
                "10.1.2.3=a.example.org",
                "allow",
                "10.1.2.3/32:allow",
                "set K=net\n",
            ),
            ("10.1.2.9", "deny", "10.1.:deny", ""),
            ("10.2.0.1", "allow", "10.0.0.0/9:allow", "set K=nine\n"),
            ("10.128.0.1", "deny", "10.:deny", ""),
            (
                "11.0.0.1=a.example.org",
                "allow",
                "0.0.0.0/0:allow",
                "set K=v4\n",
            ),
            ("2001:db8::1", "deny", "2001:db8::1:deny", ""),
            ("2001:db8::2", "allow", "2001:db8::/32:allow", ""),
            ("::1=a.example.org", "allow", "=.example.org:allow", ""),
            ("::1=a.sub.example.org", "allow", "=.example.org:allow", ""),
            ("::1=example.org", "deny", "=.org:deny", ""),
            ("::1=org", "allow", "=:allow", "set K=host\n"),
            ("joe@::1", "deny", ":deny", ""),
        ];
        for (word, deed, rule, set) in table {
            assert_eq!(
                answer(&policy, word),
                format!("{deed} {word} rule {rule}\n{set}")
            );
        }
    }

    #[test]
    fn both_lists_and_rules_must_allow() {
        let member = |text| Member::Network(Network::parse(text).unwrap());
        let rules = rules("10.1.:deny,A=\"x\"\n10.:allow,A=\"x\"\n12.:allow\n");
        let allow = [member("10.0.0.0/8"), member("11.0.0.0/8")];
        let policy = Policy::new(&allow, &[member("10.2.0.0/16")], Some(rules));
        for (word, said) in [
            ("10.3.0.1", "allow 10.3.0.1 rule 10.:allow\nset A=x\n"),
            ("10.1.0.1", "deny 10.1.0.1 rule 10.1.:deny\n"),
            ("10.2.0.1", "deny 10.2.0.1 --deny 10.2.0.0/16\n"),
            ("11.0.0.1", "allow 11.0.0.1 no rule matches\n"),
            ("12.0.0.1", "deny 12.0.0.1 no --allow matches\n"),
        ] {
            assert_eq!(answer(&policy, word), said);
        }
        let nothing = Policy::default();
        assert_eq!(answer(&nothing, "::1"), "allow ::1 nothing denies it\n");
        let lists = Policy::new(&allow, &[], None);
        assert_eq!(
            answer(&lists, "10.0.0.1"),
            "allow 10.0.0.1 --allow 10.0.0.0/8\n"
        );
    }

    #[test]
    fn processes_go_by_user_before_group_before_the_empty_rule() {
        let text = "uid:5:allow\ngid:7:deny\ncid:3:allow\n=:allow\n0.0.0.0/0:allow\n::/0:allow\n";
        let mut policy = Policy::new(&[], &[], Some(rules(&format!("{text}:deny\n"))));
        let unix = |uid, gid| Peer::Unix(Some(Credentials { pid: 1, uid, gid }));
        let table = [
            (unix(5, 7), "rule uid:5:allow"),
            (unix(6, 7), "rule gid:7:deny"),
            (unix(7, 5), "rule :deny"),
            (Peer::Unix(None), "rule :deny"),
            (Peer::Vsock { cid: 3, port: 5 }, "rule cid:3:allow"),
            (Peer::Vsock { cid: 5, port: 3 }, "rule :deny"),
        ];
        for (peer, why) in table {
            let (host, ident) = (Some(&b"a.b"[..]), Some(&b"joe"[..]));
            let verdict = policy.judge(&PeerFacts {
                peer: &peer,
                host,
                ident,
            });
            assert_eq!(verdict.why.to_string(), why);
            assert_eq!(verdict.allows, why.ends_with("allow"));
        }
        policy.replace(rules(""));
        let (peer, host, ident) = (&unix(6, 7), None, None);
        let verdict = policy.judge(&PeerFacts { peer, host, ident });
        assert_eq!(
            (verdict.allows, verdict.why.to_string().as_str()),
            (true, "no rule matches")
        );
    }

    #[test]
    fn it_is_known_whether_names_are_asked_for() {
        let table = [
            ("10.:deny\nuid:5:deny\n:allow\n", (false, false)),
            ("=:deny\n", (true, false)),
            ("=.example.org:deny\n", (true, false)),
            ("joe@1.2.3.4:deny\n", (false, true)),
            ("joe@=host:deny\n", (true, true)),
            ("joe@=host:deny\njoe@=host:allow\n", (true, true)),
        ];
        for (text, asks) in table {
            let policy = Policy::new(&[], &[], Some(rules(text)));
            assert_eq!((policy.asks_host(), policy.asks_ident()), asks, "{text}");
        }
        assert!(!Policy::default().asks_host() && !Policy::default().asks_ident());
    }

    #[test]
    fn an_answer_is_harmless_text() {
        let long = "x".repeat(300);
        let policy = Policy::new(
            &[],
            &[],
            Some(rules(&format!("=a\x1b{long}:allow,A=\"\x1b[2J{long}\"\n"))),
        );
        let said = answer(&policy, &format!("::1=a\x1b{long}"));
        let address = format!("=a?{}", "x".repeat(97));
        let word = format!("::1=a?{}", "x".repeat(94));
        assert_eq!(
            said,
            format!("allow {word} rule {address}:allow\nset A=?[2J{long}\n")
        );
    }
}
