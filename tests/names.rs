//! skd under the names of other programs: what it takes and promises then.

mod binder;
mod inetd;
mod onenetd;

use crate::kit::Folder;
use crate::kit::skd::{BINARY, Skd};

/// A folder with a link to skd of this name in it.
struct Called {
    folder: Folder,
    path: String,
}

impl Called {
    fn new(name: &str) -> Self {
        let folder = Folder::new();
        let path = folder.path(name);
        std::os::unix::fs::symlink(BINARY, &path).unwrap();
        Self { folder, path }
    }

    fn with(&self, words: &str) -> Skd {
        Skd::new(words).binary(&self.path)
    }
}
