//! A real terminal of a given size, which tmux keeps: what is on it can be read, and keys are typed into it.

use crate::kit::{DEADLINE, Folder};
use std::process::Command;
use std::time::{Duration, Instant};

/// A tmux of its own with one window; ended when dropped.
pub(crate) struct Tmux {
    folder: Folder,
}

impl Tmux {
    /// Runs a script in a terminal of so many columns and lines.
    pub(crate) fn run(script: &str, (columns, lines): (u16, u16)) -> Self {
        let folder = Folder::new();
        let path = folder.script("run", script);
        let tmux = Self { folder };
        let size = [columns, lines].map(|it| it.to_string());
        let words = ["-f", "/dev/null", "new-session", "-d"];
        tmux.does(&[&words[..], &["-x", &size[0], "-y", &size[1], &path]].concat());
        tmux
    }

    /// What a command of tmux prints.
    pub(crate) fn does(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        let command = command.args(["-u", "-S", &self.folder.path("socket")]);
        let command = command
            .args(words)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8");
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Types a key, as send-keys of tmux(1) names it.
    pub(crate) fn types(&self, key: &str) {
        self.does(&["send-keys", key]);
    }

    pub(crate) fn resizes(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.does(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// The lines that are on the terminal now, without blanks at their ends.
    pub(crate) fn screen(&self) -> Vec<String> {
        let text = self.does(&["capture-pane", "-p"]);
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// The same in one text, with the escapes of what is bold, dim or coloured.
    pub(crate) fn styled(&self) -> String {
        self.does(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is as wanted, and returns it.
    pub(crate) fn shows(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            let shown = screen.join("\n");
            assert!(
                start.elapsed() < DEADLINE,
                "waited in vain: {what}\n{shown}"
            );
            // There is no event to wait for: the screen is tmux's state.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a line holds `text`.
    pub(crate) fn shows_text(&self, text: &str) -> Vec<String> {
        self.shows(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// The path of a file beside its socket.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let command = command.args(["-S", &self.folder.path("socket"), "kill-server"]);
        let _ = command.output();
    }
}
