//! Compares what the rules decide with what the real tcprules(1) and tcprulescheck(1) do.

#[cfg(test)]
mod tests {
    use crate::admit::rules::Rules;
    use crate::admit::rules::address::{Spelling, keys};
    use crate::model::peer::{Peer, PeerFacts};
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// How many sets of rules each test compares, with six peers for each.
    const SETS: u32 = 500;

    /// Who comes: address, host, ident.
    type Who = (String, Option<String>, Option<String>);

    /// The address of the rule that decides, whether it allows, what is set.
    #[derive(Debug, PartialEq)]
    struct Decision {
        rule: Option<String>,
        allows: bool,
        variables: BTreeMap<String, String>,
    }

    /// What tcprulescheck says by a compiled file.
    fn theirs(file: &Path, (ip, host, ident): &Who) -> Decision {
        let mut check = Command::new("tcprulescheck");
        check.arg(file).env_clear().env("TCPREMOTEIP", ip);
        if let Some(host) = host {
            check.env("TCPREMOTEHOST", host);
        }
        if let Some(ident) = ident {
            check.env("TCPREMOTEINFO", ident);
        }
        check.env("PATH", std::env::var_os("PATH").unwrap());
        let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
        let mut decision = Decision {
            rule: None,
            allows: said.ends_with("allow connection\n"),
            variables: BTreeMap::new(),
        };
        assert!(
            decision.allows || said.ends_with("deny connection\n"),
            "{said}"
        );
        for line in said.lines() {
            if let Some(address) = line.strip_prefix("rule ") {
                decision.rule = Some(address.strip_suffix(':').unwrap().into());
            } else if let Some(variable) = line.strip_prefix("set environment variable ") {
                let (name, value) = variable.split_once('=').unwrap();
                decision.variables.insert(name.into(), value.into());
            }
        }
        decision
    }

    /// What our rules say by a file, compiled or not.
    fn ours(rules: &Rules, (ip, host, ident): &Who) -> Decision {
        let peer = Peer::Inet(SocketAddr::new(ip.parse().unwrap(), 4711));
        let found = rules.judge(&PeerFacts {
            peer: &peer,
            host: host.as_ref().map(String::as_bytes),
            ident: ident.as_ref().map(String::as_bytes),
        });
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let set = found.map(|found| found.variables).unwrap_or_default();
        let allows = found.is_none_or(|found| found.allows);
        Decision {
            rule: found.map(|found| text(found.address)),
            allows,
            // tcprulescheck does not tell what a rule sets that denies.
            variables: set
                .iter()
                .filter(|_| allows)
                .map(|variable| (text(&variable.name), text(&variable.value)))
                .collect(),
        }
    }

    /// Whether two addresses of rules mean the same; ours can be a range, of which theirs is one.
    fn is_same_rule(ours: Option<&String>, theirs: Option<&String>) -> bool {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => {
                let theirs = keys(theirs.as_bytes(), Spelling::Compiled).unwrap();
                let ours = keys(ours.as_bytes(), Spelling::Source)
                    .or_else(|_| keys(ours.as_bytes(), Spelling::Compiled));
                theirs
                    .iter()
                    .all(|key| ours.as_ref().unwrap().contains(key))
            }
            (None, None) => true,
            _ => false,
        }
    }

    fn octet() -> impl Strategy<Value = String> {
        // Few, so that rules and peers meet.
        select(vec!["1", "1", "1", "2", "2", "10", "0", "255"]).prop_map(str::to_owned)
    }

    fn ip() -> impl Strategy<Value = String> {
        let v4 = prop::collection::vec(octet(), 4).prop_map(|octets| octets.join("."));
        prop_oneof![4 => v4, 1 => select(V6).prop_map(str::to_owned)]
    }

    const V6: &[&str] = &["::1", "2001:db8::1", "2001:db8::2", "fe80::1:2:3:4"];
    /// As tcprules has to be given the prefixes `2001:`, `2001:db8:` and `fe80:`.
    const V6_PREFIXES: &[&str] = &["2001:", "2001:db8:", "fe80:"];

    fn host() -> impl Strategy<Value = String> {
        prop::collection::vec(select(vec!["a", "b", "c-d"]), 1..4)
            .prop_map(|labels| labels.join("."))
    }

    fn ident() -> impl Strategy<Value = String> {
        select(vec!["u", "v", "u@v", ""]).prop_map(str::to_owned)
    }

    /// Ranges in any octet of an address or prefix.
    fn dotted() -> impl Strategy<Value = String> {
        let range = (0..12u8, 0..12u8)
            .prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other)));
        let octets = prop::collection::vec(octet(), 1..=4);
        (octets, prop::option::of(range), 0..4usize).prop_map(|(mut octets, range, place)| {
            let place = place % octets.len();
            octets[place] = range.unwrap_or_else(|| octets[place].clone());
            let dot = if octets.len() < 4 { "." } else { "" };
            octets.join(".") + dot
        })
    }

    fn address() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => dotted(),
            2 => ip(),
            2 => host().prop_map(|host| format!("={host}")),
            2 => host().prop_map(|host| format!("=.{host}")),
            1 => Just("=".to_owned()),
            2 => (ident(), ip()).prop_map(|(ident, ip)| format!("{ident}@{ip}")),
            2 => (ident(), host()).prop_map(|(ident, host)| format!("{ident}@={host}")),
            1 => Just(String::new()),
        ]
    }

    fn instructions() -> impl Strategy<Value = String> {
        let variable = (
            select(vec!["A", "B", "C"]),
            "[ -~]{0,6}",
            select(vec!["\"", "'", "|", "x", "1"]),
        );
        let variables = prop::collection::vec(variable, 0..4).prop_map(|variables| {
            let set = |(name, value, mark): (&str, String, &str)| {
                format!(",{name}={mark}{}{mark}", value.replace(mark, ""))
            };
            variables.into_iter().map(set).collect::<String>()
        });
        let word = select(vec!["allow", "deny"]);
        (word, variables).prop_map(|(word, variables)| format!(":{word}{variables}"))
    }

    fn lines(address: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let line = (
            address,
            instructions(),
            select(vec!["\n", " \t\n", "\n\n", "\n# x\n"]),
        );
        let line = line.prop_map(|(address, instructions, end)| address + &instructions + end);
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
    }

    fn who() -> impl Strategy<Value = Who> {
        (ip(), prop::option::of(host()), prop::option::of(ident()))
    }

    /// Compiles a source by tcprules; false if it is not there, or does not take it.
    fn compile(source: &str, file: &Path) -> bool {
        let tcprules = Command::new("tcprules")
            .args([file.to_owned(), file.with_extension("tmp")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut tcprules) = tcprules else {
            return false;
        };
        let mut stdin = tcprules.stdin.take().unwrap();
        stdin.write_all(source.as_bytes()).unwrap();
        drop(stdin);
        tcprules.wait().unwrap().success()
    }

    /// Without a tcprules, one that knows IPv6, a test is skipped, and fails under SKD_TEST_NEED=all.
    #[expect(clippy::print_stderr, reason = "what is skipped is named")]
    fn skip(name: &str) {
        let all = std::env::var_os("SKD_TEST_NEED").is_some_and(|need| need == "all");
        assert!(!all, "this test needs tcprules of ucspi-tcp-ipv6");
        eprintln!("rules as {name}: skipped, it needs tcprules of ucspi-tcp-ipv6");
    }

    fn compare(name: &str, source: impl Strategy<Value = String>, reads_source: bool) {
        let folder = std::env::temp_dir().join(format!("skd-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("rules.cdb");
        if !compile("::1:deny\n", &file) {
            fs::remove_dir_all(&folder).unwrap();
            return skip(name);
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: SETS,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let sets = (source, prop::collection::vec(who(), 6));
        let ran = runner.run(&sets, |(source, peers)| {
            prop_assert!(compile(&source, &file));
            let compiled = Rules::read(b"rules.cdb", &fs::read(&file).unwrap());
            let mut all =
                vec![compiled.map_err(|broken| TestCaseError::fail(broken.shown(b"cdb")))?];
            if reads_source {
                let read = Rules::read(b"rules", source.as_bytes());
                all.push(read.map_err(|broken| TestCaseError::fail(broken.shown(b"source")))?);
            }
            for who in peers {
                let theirs = theirs(&file, &who);
                for rules in &all {
                    let ours = ours(rules, &who);
                    let is_same_rule = is_same_rule(ours.rule.as_ref(), theirs.rule.as_ref());
                    prop_assert!(is_same_rule, "{:?}: {:?} {:?}", who, ours, theirs);
                    prop_assert_eq!(ours.allows, theirs.allows, "{:?}", who);
                    prop_assert_eq!(&ours.variables, &theirs.variables, "{:?}", who);
                }
            }
            Ok(())
        });
        fs::remove_dir_all(&folder).unwrap();
        ran.unwrap();
    }

    #[test]
    fn rules_decide_as_tcprulescheck_does() {
        compare("source", lines(address()), true);
    }

    #[test]
    fn rules_that_tcprules_compiled_decide_as_tcprulescheck_does() {
        let prefix = select(V6_PREFIXES).prop_map(str::to_owned);
        compare(
            "compiled",
            lines(prop_oneof![4 => address(), 1 => prefix]),
            false,
        );
    }
}
