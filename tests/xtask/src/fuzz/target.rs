//! Fuzz targets: every test that holds a `bolero::check!`, found in the sources, so that a list needs no build.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const MARK: &str = "bolero::check!";

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) package: String,
    /// As the test program names it: `spdy::frame::tests::any_bytes_...`.
    pub(super) test: String,
}

impl Target {
    /// How it is named to people, and asked for by any part of it.
    pub(super) fn name(&self) -> String {
        format!("{}::{}", self.package, self.test)
    }

    /// The name of files of its own.
    pub(super) fn file_name(&self) -> String {
        self.name().replace("::", "__")
    }
}

/// The targets below a package's `src`, by name.
pub(super) fn of_package(package: &str, src: &Path) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    let mut dirs = vec![src.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let path = entry.with_context(|| format!("listing {}", dir.display()))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                let file = path.strip_prefix(src).unwrap_or(&path);
                let tests = tests_in(file, &text).into_iter();
                found.extend(tests.map(|test| Target { package: package.to_owned(), test }));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The tests in one file; its path is below `src`.
fn tests_in(file: &Path, text: &str) -> Vec<String> {
    let modules = file.with_extension("");
    let mut modules: Vec<&str> = modules.iter().filter_map(|part| part.to_str()).collect();
    if modules.last().is_some_and(|last| matches!(*last, "lib" | "main")) {
        modules.pop();
    }
    let (mut within, mut function, mut tests) = (None, None, Vec::new());
    for line in text.lines() {
        // As rustfmt leaves them: what stands in the first column is in no other module.
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            within = Some(name);
        } else if line == "}" {
            within = None;
        } else if let Some(rest) = line.trim_start().strip_prefix("fn ") {
            function = rest.split(['(', '<']).next();
        }
        if let (true, Some(function)) = (line.contains(MARK), function) {
            let path = modules.iter().copied().chain(within).chain([function]);
            tests.push(path.collect::<Vec<_>>().join("::"));
        }
    }
    tests.dedup();
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
fn other() {}

#[test]
fn any_bytes_are_read() {
    bolero::check!().for_each(|_: &[u8]| {});
}
"#;

    fn indented(text: &str) -> String {
        let lines =
            text.lines().map(|line| if line.is_empty() { line.to_owned() } else { format!("    {line}") });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_test_is_named_as_its_program_names_it() {
        let named = |file: &str, text: &str| tests_in(Path::new(file), text);
        assert_eq!(named("spdy/frame/tests.rs", TEXT), ["spdy::frame::tests::any_bytes_are_read"]);
        let inline = format!("fn f() {{\n}}\n\nmod tests {{{}\n}}\n", indented(TEXT));
        assert_eq!(named("logs/rotated.rs", &inline), ["logs::rotated::tests::any_bytes_are_read"]);
        assert_eq!(named("lib.rs", &inline), ["tests::any_bytes_are_read"]);
        assert_eq!(named("lib.rs", "fn f() {}\n"), [""; 0]);
    }

    #[test]
    fn the_targets_of_this_workspace_are_found() {
        let src = crate::build::workspace().join("daemon/streams/src");
        let targets = of_package("streams", &src).unwrap();
        let names: Vec<String> = targets.iter().map(Target::name).collect();
        let name = "streams::websocket::frame::tests::any_bytes_are_read_without_panic_and_alike_however_they_are_cut";
        assert!(names.iter().any(|n| n == name), "{names:?}");
        assert!(names.is_sorted());
    }
}
