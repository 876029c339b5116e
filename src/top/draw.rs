//! Turns figures into lines of a table, and these into a page of a terminal; pure.

use crate::figures::{Figures, Flow, Quantiles, Row};
use crate::words::{bytes, count, rate, span};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::block;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

/// The narrowest that lines are made; a narrower terminal shows their beginnings.
const COLUMNS: usize = 80;

/// Lines of a page that are no rows: three of skd itself, the titles, and the keys.
const FRAME_LINES: u16 = 5;

/// Lines of a row.
const ROW_LINES: u16 = 3;

/// What a line of a row has besides its name.
const BESIDE_NAME: usize = 43;

/// What a line of a row has besides its bar.
const BESIDE_BAR: usize = 71;

/// Columns of a bar of children.
const CHILDREN_BAR: usize = 8;

/// Columns of a place that stay, however long the reason is for which it does not answer.
const LEAST_PLACE: usize = 21;

/// How bars are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// In eighths of a column, which takes Unicode; else in whole ones, of `#`.
    has_eighths: bool,
}

/// What a page shows.
pub(crate) struct Page<'a> {
    /// What was last heard; `None` before the first answer.
    pub(crate) figures: Option<&'a Figures>,
    /// Where skd answers.
    pub(crate) place: &'a str,
    pub(crate) clock: &'a str,
    /// Why there is no answer now.
    pub(crate) trouble: Option<&'a str>,
    /// How many rows are scrolled out above.
    pub(crate) above: usize,
    pub(crate) look: Look,
}

/// What bars are full of.
#[derive(Clone, Copy)]
struct Scale {
    per_sec: f64,
    children: f64,
}

impl Look {
    /// By the locale, as locale(7) finds it in the environment.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut all = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
        let locale = all.find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        Self {
            has_eighths: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    /// Columns that are full for `part`, 0 to 1; whatever is more than nothing shows.
    fn bar(self, part: f64, columns: usize) -> String {
        const PARTS: [&str; 8] = [
            "",
            block::ONE_EIGHTH,
            block::ONE_QUARTER,
            block::THREE_EIGHTHS,
            block::HALF,
            block::FIVE_EIGHTHS,
            block::THREE_QUARTERS,
            block::SEVEN_EIGHTHS,
        ];
        let (steps, full) = if self.has_eighths {
            (8, block::FULL)
        } else {
            (1, "#")
        };
        let all = u32::try_from(columns * steps).unwrap_or(u32::MAX);
        let wanted = part * f64::from(all);
        let filled = (1..=all).take_while(|it| f64::from(*it) <= wanted).count();
        let filled = filled.max(usize::from(part > 0.0 && all > 0));
        let mut bar = full.repeat(filled / steps);
        bar.push_str(PARTS.get(filled % steps).unwrap_or(&""));
        bar.push_str(&" ".repeat(columns - filled.div_ceil(steps)));
        bar
    }
}

impl Scale {
    fn of(figures: &Figures) -> Self {
        let rates = figures
            .rows
            .iter()
            .flat_map(|row| [row.accepted, row.denied]);
        let children = figures.rows.iter().map(|row| row.children);
        Self {
            per_sec: rates.filter_map(|flow| flow.per_sec).fold(0.0, f64::max),
            children: figures.limit.unwrap_or(children.fold(0.0, f64::max)),
        }
    }
}

/// How many rows fit on a page; one at least, be it cut off.
pub(crate) fn fitting(height: u16) -> usize {
    usize::from(height.saturating_sub(FRAME_LINES) / ROW_LINES).max(1)
}

/// All of it as text, as wide as the longest name needs.
pub(crate) fn table(figures: &Figures, place: &str, clock: &str, look: Look) -> String {
    let names = figures.rows.iter().map(|row| Span::raw(&row.name).width());
    let width = names.max().unwrap_or(0) + BESIDE_NAME;
    let width = width.max(COLUMNS);
    let scale = Scale::of(figures);
    let mut text = String::new();
    let head = [
        head(Some(figures), place, clock, width),
        usage(figures, look),
        Line::default(),
        titles(width),
    ];
    let rows = figures
        .rows
        .iter()
        .flat_map(|it| row(it, scale, look, width));
    for line in head.into_iter().chain(rows) {
        let line: String = line
            .spans
            .iter()
            .map(|span| span.content.as_ref())
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Draws a page as large as `area`.
pub(crate) fn page(page: &Page<'_>, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut lines = vec![head(page.figures, page.place, page.clock, width)];
    lines.extend(page.figures.map(|figures| usage(figures, page.look)));
    let dim = Style::new().add_modifier(Modifier::DIM);
    if let Some(figures) = page.figures {
        let wide = width.max(COLUMNS);
        let scale = Scale::of(figures);
        lines.extend([Line::default(), titles(wide)]);
        let rows = figures.rows.iter().skip(page.above);
        let rows = rows.take(fitting(area.height));
        lines.extend(rows.flat_map(|it| row(it, scale, page.look, wide)));
    }
    put(lines, area.y, area, buffer);
    if page.trouble.is_some() {
        buffer.set_style(area, dim);
    }
    let state = state(page, width);
    let state = state.map(|text| Line::styled(text, Style::new().bold().fg(Color::Red)));
    put(state, area.y.saturating_add(2), area, buffer);
    if area.height >= FRAME_LINES {
        let last = area.bottom().saturating_sub(1);
        let room = Rect::new(area.x, last, area.width, 1);
        buffer.set_style(room, Style::reset());
        put([keys(page, area.height)], last, area, buffer);
    }
}

/// Draws lines from row `y` on, as far as there is room.
fn put(lines: impl IntoIterator<Item = Line<'static>>, y: u16, area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.into_iter().zip(y..area.bottom()) {
        let room = Rect::new(area.x, y, area.width, 1);
        ratatui::widgets::Clear.render(room, buffer);
        line.render(room, buffer);
    }
}

/// What stands above the rows where skd does not answer, or has not yet.
fn state(page: &Page<'_>, width: usize) -> Option<String> {
    match (page.trouble, page.figures) {
        (Some(reason), _) => {
            let behind = format!(" does not answer: {reason}; waiting");
            let room = width.saturating_sub("skd at ".len() + behind.len());
            let place = fit(page.place, room.max(LEAST_PLACE));
            Some(format!("skd at {}{behind}", place.trim_end()))
        }
        (None, None) => Some(format!("asking skd at {}", page.place)),
        (None, Some(_)) => None,
    }
}

/// Who is looked at, and the time at the right.
fn head(figures: Option<&Figures>, place: &str, clock: &str, width: usize) -> Line<'static> {
    let version = figures.map_or("", |figures| figures.version.as_str());
    let skd = format!("skd {version}").trim_end().to_owned();
    let room = width.saturating_sub(clock.len() + 1);
    let left = fit(&format!("{skd} at {place}"), room);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::from(vec![
        Span::styled(left, bold),
        Span::raw(format!(" {clock}")),
    ])
}

/// What skd itself uses.
fn usage(figures: &Figures, look: Look) -> Line<'static> {
    let mut parts = Vec::new();
    let unknown = || "-".to_owned();
    let cpu = figures.cpu_percent;
    let cpu = cpu.map_or_else(unknown, |share| format!("{share:.1}%"));
    parts.push(format!("cpu {cpu}"));
    let memory = figures.resident_bytes.map_or_else(unknown, bytes);
    parts.push(format!("memory {memory}"));
    let files = |number: Option<f64>| number.map_or_else(unknown, |number| count(number, 7));
    let (open, most) = (files(figures.open_files), files(figures.most_files));
    parts.push(format!("descriptors {open}/{most}"));
    let children = count(figures.children, 7);
    let Some(limit) = figures.limit else {
        parts.push(format!("children {children}"));
        return Line::raw(parts.join("   "));
    };
    parts.push(format!("children {children}/{} ", count(limit, 7)));
    let bar = look.bar(share(figures.children, limit), CHILDREN_BAR);
    Line::from(vec![
        Span::raw(parts.join("   ")),
        Span::styled(bar, Style::new().fg(Color::Green)),
    ])
}

fn titles(width: usize) -> Line<'static> {
    let bar = width.saturating_sub(BESIDE_BAR);
    let text = format!(
        "{:<11}{:>10} {:bar$} {:>10}{:8}{:>8}{:>8}{:>8} {:<5}",
        "LISTENER", "A SECOND", "", "TOTAL", "", "P50", "P90", "P99", "OF"
    );
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
}

/// The lines of one listener.
fn row(row: &Row, scale: Scale, look: Look, width: usize) -> [Line<'static>; 3] {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let failed = if row.failed > 0.0 {
        Style::new().fg(Color::Red)
    } else {
        Style::new()
    };
    let bar = look.bar(share(row.children, scale.children), CHILDREN_BAR);
    let name = fit(&row.name, width.saturating_sub(BESIDE_NAME));
    let first = Line::from(vec![
        Span::styled(name, bold),
        Span::styled(format!(" failed {:>8}", count(row.failed, 8)), failed),
        Span::raw(format!("  children {:>7} ", count(row.children, 7))),
        Span::styled(bar, Style::new().fg(Color::Green)),
    ]);
    let flow = |name, flow: Flow, colour, label, quantiles| {
        let columns = width.saturating_sub(BESIDE_BAR);
        let bar = look.bar(share(flow.per_sec.unwrap_or(0.0), scale.per_sec), columns);
        Line::from(vec![
            Span::raw(format!("  {name:<8} {:>8}/s ", rate(flow.per_sec))),
            Span::styled(bar, Style::new().fg(colour)),
            Span::raw(format!(" {:>10}", count(flow.total, 10))),
            Span::raw(format!("  {label:<6}{}", latencies(quantiles))),
        ])
    };
    [
        first,
        flow("accepted", row.accepted, Color::Cyan, "spawn", row.spawn),
        flow("refused", row.denied, Color::Red, "run", row.run),
    ]
}

fn latencies(quantiles: Quantiles) -> String {
    let (parts, of) = match quantiles {
        Quantiles::Never => (["-"; 3].map(str::to_owned), ""),
        Quantiles::Recent(parts) => (parts.map(span), "10 s"),
        Quantiles::SinceStart(parts) => (parts.map(span), "start"),
    };
    let [p50, p90, p99] = parts;
    format!("{p50:>8}{p90:>8}{p99:>8} {of:<5}")
}

/// What the keys do, and what there is besides what is shown.
fn keys(page: &Page<'_>, height: u16) -> Line<'static> {
    let rows = page.figures.map_or(0, |figures| figures.rows.len());
    let fits = fitting(height);
    let mut text = "q ends".to_owned();
    if rows > fits {
        let (first, last) = (page.above + 1, (page.above + fits).min(rows));
        let more = rows - fits;
        text.push_str(&format!(
            "   Up, Down scroll: {first} to {last} of {rows}, +{more} more"
        ));
    }
    Line::raw(text)
}

/// A name in exactly so many columns: cut off, or with blanks behind it.
fn fit(name: &str, columns: usize) -> String {
    let mut fitted = String::new();
    let mut left = columns;
    if Span::raw(name).width() <= columns {
        fitted.push_str(name);
        left -= Span::raw(name).width();
    } else if let Some(room) = columns.checked_sub(1) {
        left = room;
        for c in name.chars() {
            let wide = Span::raw(c.to_string()).width();
            if wide > left {
                break;
            }
            left -= wide;
            fitted.push(c);
        }
        fitted.push('>');
    }
    fitted + &" ".repeat(left)
}

/// A part of a whole, 0 to 1.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (part / whole).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests;
