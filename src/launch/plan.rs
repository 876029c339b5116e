//! Where PROG is: the files that PATH makes of its name; pure.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Where a program is looked for when PATH is not set, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The files to try for PROG, in order: itself if it has a slash, else one in each folder of PATH, an empty one being
/// the working directory.
pub(crate) fn candidates(prog: &OsStr, path: Option<&OsStr>) -> Vec<CString> {
    if prog.as_bytes().contains(&b'/') {
        return CString::new(prog.as_bytes()).into_iter().collect();
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let folders = path.as_bytes().split(|byte| *byte == b':');
    let files = folders.map(|folder| match folder {
        [] => prog.as_bytes().to_vec(),
        folder => [folder, b"/", prog.as_bytes()].concat(),
    });
    files.filter_map(|file| CString::new(file).ok()).collect()
}

/// Words as execve(2) takes them. None can hold a NUL: they come from execve(2) themselves.
pub(crate) fn c_strings(words: impl IntoIterator<Item = OsString>) -> Vec<CString> {
    words
        .into_iter()
        .filter_map(|word| CString::new(word.into_vec()).ok())
        .collect()
}

/// `NAME=VALUE` for each variable.
pub(crate) fn assignments(variables: Vec<(OsString, OsString)>) -> Vec<CString> {
    c_strings(variables.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_execvp_does() {
        let table: &[(&str, Option<&str>, &[&str])] = &[
            ("cat", Some("/bin:/usr/bin"), &["/bin/cat", "/usr/bin/cat"]),
            ("cat", None, &["/bin/cat", "/usr/bin/cat"]),
            ("cat", Some(":/bin:"), &["cat", "/bin/cat", "cat"]),
            ("cat", Some(""), &["cat"]),
            ("./cat", Some("/bin"), &["./cat"]),
            ("/x/cat", None, &["/x/cat"]),
        ];
        for (prog, path, files) in table {
            let found = candidates(OsStr::new(prog), path.map(OsStr::new));
            let found: Vec<_> = found.iter().map(|file| file.to_str().unwrap()).collect();
            assert_eq!(found, *files, "{prog} {path:?}");
        }
    }
}
