//! What is wrong with a file, and where.

use super::Conf;

/// `--check` ends with 100 and these lines, and so does a start.
fn is_wrong(conf: &Conf, lines: &[&str]) {
    conf.fails(100, lines);
    let outcome = conf.skd("--check").outcome();
    let line = |line: &&str| format!("skd: fatal: {}:{line}\n", conf.path);
    let lines: String = lines.iter().map(line).collect();
    assert_eq!((outcome.code, outcome.stderr), (100, lines));
}

#[test]
fn the_column_is_that_of_the_field_that_has_to_be_another() {
    let conf = Conf::of(
        "@x seqpacket unix nowait root internal echo\n\
         @y stream unix wait root internal echo\n\
         @z stream unix,sndbuf=1k,sndbuf=2k nowait root internal echo\n",
    );
    is_wrong(
        &conf,
        &[
            "1:4: \"seqpacket\": an internal service is stream or dgram",
            "2:16: \"wait\": an internal stream service is nowait",
            "3:11: \"unix,sndbuf=1k,sndbuf=2k\": sndbuf=N and rcvbuf=N are expected once each",
        ],
    );
}

#[test]
fn one_address_by_two_names_is_an_error_on_the_second() {
    for (one, other) in [("127.0.0.1", "localhost"), ("localhost", "127.0.0.1")] {
        let rest = "7013 stream tcp nowait root internal echo";
        let conf = Conf::of(&format!("{one}:{rest}\n{other}:{rest}\n"));
        let line = format!("2:1: \"{other}:7013 stream tcp\": line 1 has the same address");
        conf.fails(100, &[&line]);
    }
}
