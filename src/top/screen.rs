//! Shows what skd tells in a terminal, until a key or a signal ends it.

use crate::arguments::Target;
use crate::ask::{SECOND, ask};
use crate::clock::Clock;
use crate::draw::{self, Look, Page};
use crate::fetch;
use crate::figures::{Figures, History};
use crate::model::error::Fatal;
use nix::sys::signal::{SigSet, Signal};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// When nothing was heard for so long, not even of a failure, a name is being looked up.
const SILENCE: Duration = Duration::from_secs(3);

/// What happens.
enum News {
    /// What skd told, or why it did not.
    Answer(Result<Figures, String>),
    Key(KeyEvent),
    /// The terminal has another size, or was typed at otherwise.
    Redraw,
    /// A signal, or the end of the terminal.
    End,
}

/// What is shown, and how far it is scrolled.
struct View {
    target: Target,
    look: Look,
    clock: Clock,
    figures: Option<Figures>,
    trouble: Option<String>,
    above: usize,
}

/// Shows it until it is to end; the terminal is then as it was.
///
/// # Errors
/// `unable to use the terminal`.
pub(crate) fn watch(target: Target, look: Look, clock: Clock) -> Result<(), Fatal> {
    let unable = |error: io::Error| Fatal::unable("use the terminal", fetch::words(&error));
    let (sender, news) = channel();
    // Before there is another thread, which would have its own mask.
    let ends = SigSet::from_iter([
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ]);
    ends.thread_block()
        .map_err(|errno| Fatal::unable("block signals", fetch::words(&errno.into())))?;
    let view = View {
        target: target.clone(),
        look,
        clock,
        figures: None,
        trouble: None,
        above: 0,
    };
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let signals = sender.clone();
        thread::spawn(move || {
            let _ = ends.wait();
            // Where nobody hears it, all has ended already.
            let _ = signals.send(News::End);
        });
        let keys = sender.clone();
        thread::spawn(move || type_on(&keys));
        thread::spawn(move || ask_on(&target, &sender));
        view.show(&mut terminal, &news)
    });
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(unable)
}

/// Asks every second, as long as somebody wants to know.
fn ask_on(target: &Target, sender: &Sender<News>) {
    let mut history = History::default();
    loop {
        let begun = Instant::now();
        let answer = ask(target, &mut history);
        let figures = answer.and_then(|()| history.figures().ok_or_else(String::new));
        if sender.send(News::Answer(figures)).is_err() {
            return;
        }
        thread::sleep(SECOND.saturating_sub(begun.elapsed()));
    }
}

/// Reads keys and changes of size.
fn type_on(sender: &Sender<News>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) => News::Key(key),
            Ok(_) => News::Redraw,
            Err(_) => News::End,
        };
        let is_end = matches!(news, News::End);
        if sender.send(news).is_err() || is_end {
            return;
        }
    }
}

impl View {
    fn show(mut self, terminal: &mut DefaultTerminal, news: &Receiver<News>) -> io::Result<()> {
        let mut heard = Instant::now();
        loop {
            terminal.draw(|frame| {
                let area = frame.area();
                self.scroll(0, area.height);
                draw::page(&self.page(&self.clock.now()), area, frame.buffer_mut());
            })?;
            let height = terminal.size()?.height;
            match news.recv_timeout(SILENCE.saturating_sub(heard.elapsed())) {
                Ok(News::Answer(answer)) => {
                    heard = Instant::now();
                    self.hear(answer);
                }
                Ok(News::Key(key)) => {
                    if !self.obey(key, height) {
                        return Ok(());
                    }
                }
                Ok(News::Redraw) => {}
                Err(RecvTimeoutError::Timeout) => {
                    heard = Instant::now();
                    self.trouble = Some("its address is being looked up".into());
                }
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn page<'a>(&'a self, clock: &'a str) -> Page<'a> {
        Page {
            figures: self.figures.as_ref(),
            place: &self.target.shown,
            clock,
            trouble: self.trouble.as_deref(),
            above: self.above,
            look: self.look,
        }
    }

    /// The last figures stay while there are no others.
    fn hear(&mut self, answer: Result<Figures, String>) {
        match answer {
            Ok(figures) => {
                self.figures = Some(figures);
                self.trouble = None;
            }
            Err(reason) => self.trouble = Some(reason),
        }
    }

    /// Does what a key asks for; false if it asks for the end.
    fn obey(&mut self, key: KeyEvent, height: u16) -> bool {
        if key.kind == KeyEventKind::Release {
            return true;
        }
        let page = isize::try_from(draw::fitting(height)).unwrap_or(1);
        let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if is_ctrl => return false,
            KeyCode::Up => self.scroll(-1, height),
            KeyCode::Down => self.scroll(1, height),
            KeyCode::PageUp => self.scroll(-page, height),
            KeyCode::PageDown => self.scroll(page, height),
            KeyCode::Home => self.scroll(isize::MIN, height),
            KeyCode::End => self.scroll(isize::MAX, height),
            _ => {}
        }
        true
    }

    /// Scrolls by so many rows, no further than there are any.
    fn scroll(&mut self, by: isize, height: u16) {
        let rows = self
            .figures
            .as_ref()
            .map_or(0, |figures| figures.rows.len());
        let most = rows.saturating_sub(draw::fitting(height));
        self.above = self.above.saturating_add_signed(by).min(most);
    }
}
