//! Whole pages, and the oddest sizes and figures.

use super::*;
use crate::histogram::Estimate::{About, Above};

const PLAIN: Look = Look { has_eighths: false };

fn listener(name: &str, per_sec: f64) -> Row {
    Row {
        name: name.into(),
        accepted: Flow {
            per_sec: Some(per_sec),
            total: per_sec * 100.0,
        },
        denied: Flow {
            per_sec: None,
            total: 3.0,
        },
        failed: 0.0,
        children: 5.0,
        spawn: Quantiles::Recent([About(0.000_062), About(0.001_24), Above(1.0)]),
        run: Quantiles::Never,
    }
}

fn figures(rows: Vec<Row>) -> Figures {
    Figures {
        version: "2.0.0".into(),
        cpu_percent: Some(1.25),
        resident_bytes: Some(2_411_725.0),
        open_files: Some(14.0),
        most_files: None,
        children: 10.0,
        limit: Some(40.0),
        rows,
    }
}

/// What a terminal of this size shows, without blanks at the ends of lines.
fn drawn(page: &Page<'_>, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    super::page(page, area, &mut buffer);
    let line = |y| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    let lines = (0..height).map(line);
    lines.map(|line| line.trim_end().to_owned()).collect()
}

fn page<'a>(figures: Option<&'a Figures>, trouble: Option<&'a str>) -> Page<'a> {
    Page {
        figures,
        place: "[::1]:9100",
        clock: "12:34:56",
        trouble,
        above: 0,
        look: PLAIN,
    }
}

const HEAD: &str = "\
skd 2.0.0 at [::1]:9100                                                 12:34:56
cpu 1.2%   memory 2.3 MiB   descriptors 14/-   children 10/40 ##

LISTENER     A SECOND                TOTAL             P50     P90     P99 OF
tcp:[::]:25                           failed        0  children       5 #
  accepted     40.0/s #########       4000  spawn     62us   1.2ms   >1.0s 10 s
  refused         -/s                    3  run          -       -       -
unix:/var/run/with/a/long/path/to/so> failed        0  children       5 #
  accepted     10.0/s ##              1000  spawn     62us   1.2ms   >1.0s 10 s
  refused         -/s                    3  run          -       -       -
";

fn two() -> Figures {
    figures(vec![
        listener("tcp:[::]:25", 40.0),
        listener("unix:/var/run/with/a/long/path/to/something", 10.0),
    ])
}

#[test]
fn a_page_of_eighty_columns_has_room_for_all() {
    let wanted = format!("{HEAD}{}q ends", "\n".repeat(13));
    let lines = drawn(&page(Some(&two()), None), 80, 24);
    assert_eq!(lines.join("\n"), wanted);
}

#[test]
fn without_an_answer_the_last_figures_stay() {
    let reason = "Connection refused";
    let state = "skd at [::1]:9100 does not answer: Connection refused; waiting";
    let lines = drawn(&page(Some(&two()), Some(reason)), 80, 24);
    let wanted = HEAD.replacen("\n\n", &format!("\n{state}\n"), 1);
    assert_eq!(lines[..10].join("\n") + "\n", wanted);
    let lines = drawn(&page(None, Some(reason)), 80, 24);
    assert_eq!(lines[2], state);
    let lines = drawn(&page(None, None), 80, 24);
    assert_eq!(lines[2], "asking skd at [::1]:9100");
    // A long place leaves room for the reason.
    let place = "/".repeat(90);
    let mut long = page(None, Some(reason));
    long.place = &place;
    assert!(drawn(&long, 80, 24)[2].ends_with("/> does not answer: Connection refused; waiting"));
}

#[test]
fn what_does_not_fit_is_scrolled_and_counted() {
    let rows = (0..9).map(|port| listener(&format!("tcp:{port}"), 1.0));
    let figures = figures(rows.collect());
    let mut page = page(Some(&figures), None);
    let names = |lines: &[String]| {
        let names = lines.iter().filter_map(|line| line.strip_prefix("tcp:"));
        names.map(|rest| rest[..1].to_owned()).collect::<String>()
    };
    let lines = drawn(&page, 80, 24);
    assert_eq!(names(&lines), "012345");
    assert_eq!(lines[23], "q ends   Up, Down scroll: 1 to 6 of 9, +3 more");
    page.above = 3;
    let lines = drawn(&page, 80, 24);
    assert_eq!(names(&lines), "345678");
    assert_eq!(lines[23], "q ends   Up, Down scroll: 4 to 9 of 9, +3 more");
}

#[test]
fn no_size_and_no_figure_is_too_odd() {
    let mut odd = listener("\u{65e5}\u{672c}\u{301}e\u{301}", f64::MAX);
    odd.accepted.total = f64::MAX;
    odd.failed = f64::MAX;
    odd.children = f64::MAX;
    odd.spawn = Quantiles::SinceStart([About(f64::MAX), Above(0.0), About(0.0)]);
    let mut all = figures(vec![
        odd,
        listener("", 0.0),
        listener(&"x".repeat(200), 1.0),
    ]);
    all.children = f64::INFINITY;
    all.resident_bytes = Some(f64::MAX);
    for has_eighths in [false, true] {
        for (width, height) in (0..100).flat_map(|width| [0, 1, 4, 5, 7, 24].map(|it| (width, it)))
        {
            for figures in [Some(&all), None] {
                let mut page = page(figures, Some("why"));
                page.look = Look { has_eighths };
                page.above = height.into();
                let lines = drawn(&page, width, height);
                assert!(lines.len() == usize::from(height));
            }
        }
    }
    let text = table(&all, "x", "12:34:56", PLAIN);
    assert!(text.contains(&"x".repeat(200)), "{text}");
}

#[test]
fn bars_are_as_long_as_their_share() {
    let fine = Look::of(|name| (name == "LANG").then(|| "C.UTF-8".into()));
    let table = [
        (fine, 0.0, "    "),
        (fine, 0.001, "\u{258f}   "),
        (fine, 0.375, "\u{2588}\u{258c}  "),
        (fine, 1.0, "\u{2588}\u{2588}\u{2588}\u{2588}"),
        (PLAIN, 0.0, "    "),
        (PLAIN, 0.001, "#   "),
        (PLAIN, 0.5, "##  "),
        (PLAIN, 1.0, "####"),
    ];
    for (look, part, bar) in table {
        assert_eq!(look.bar(part, 4), bar, "{part}");
        assert_eq!(look.bar(part, 0), "");
    }
    let first = |name: &str| match name {
        "LC_ALL" => Some("C".to_owned()),
        _ => Some("C.UTF-8".to_owned()),
    };
    assert!(!Look::of(first).has_eighths);
    assert!(!Look::of(|_| None).has_eighths);
}

#[test]
fn names_are_cut_to_columns_not_to_bytes() {
    let table = [
        ("abc", 3, "abc"),
        ("abc", 5, "abc  "),
        ("abcd", 3, "ab>"),
        ("\u{65e5}\u{672c}\u{65e5}", 6, "\u{65e5}\u{672c}\u{65e5}"),
        ("\u{65e5}\u{672c}\u{65e5}", 5, "\u{65e5}\u{672c}>"),
        ("\u{65e5}\u{672c}\u{65e5}", 4, "\u{65e5}> "),
        ("abc", 1, ">"),
        ("abc", 0, ""),
    ];
    for (name, columns, fitted) in table {
        assert_eq!(fit(name, columns), fitted, "{name} {columns}");
    }
}
