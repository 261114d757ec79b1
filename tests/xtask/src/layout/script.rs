//! The list for the linker. Pure: functions in, text out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What stands above the list.
const HEAD: &str = "/* Functions that an idle node runs, for the linker to put side by side: made by `cargo xtask layout`. */
SECTIONS
{
  .text.often :
  {
    *(
";
const TAIL: &str = "    )
  }
}
INSERT BEFORE .text;
";

/// A path is listed whole if what lies below it is at most so many times what has run of it,
const RATIO: u64 = 2;
/// and so many bytes.
const SLACK: u64 = 2000;

/// A function of the program.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// As the linker knows it.
    pub(super) name: String,
    /// In bytes.
    pub(super) size: u64,
    /// Whether it was seen to run.
    pub(super) has_run: bool,
}

/// What begins alike.
#[derive(Default)]
struct Node {
    below: BTreeMap<String, Node>,
    /// Bytes of all functions here and below, and of those that have run.
    size: u64,
    ran: u64,
}

/// The linker's script that names the functions that have run, by paths and without what differs from one build to the next.
pub(super) fn script(functions: &[Function]) -> String {
    let mut root = Node::default();
    for function in functions {
        let mut node = &mut root;
        for piece in pieces(&function.name) {
            node = node.below.entry(piece).or_default();
            node.size += function.size;
            node.ran += if function.has_run { function.size } else { 0 };
        }
    }
    let mut patterns = BTreeSet::new();
    for (piece, node) in &root.below {
        list(node, piece.clone(), &mut patterns);
    }
    let mut text = HEAD.to_owned();
    for pattern in patterns {
        // A string takes it. What the compiler calls cold lies in `.text.unlikely.`.
        let _ = writeln!(text, "      .text*.{pattern}");
    }
    text + TAIL
}

fn list(node: &Node, path: String, patterns: &mut BTreeSet<String>) {
    if node.ran == 0 {
        return;
    }
    if node.below.is_empty() || node.size <= node.ran * RATIO + SLACK {
        patterns.insert(path + "*");
        return;
    }
    for (piece, node) in &node.below {
        list(node, format!("{path}{piece}"), patterns);
    }
}

/// The pieces of a name as the compiler makes it up, from the crate on; together they match it, but for the numbers of this very build.
fn pieces(name: &str) -> Vec<String> {
    match name.strip_prefix("_ZN").and_then(components) {
        Some(components) => {
            let mut pieces = Vec::new();
            for component in components {
                if component.contains("$LT$") {
                    // Its length differs with every type in it.
                    pieces.push("*".to_owned());
                    pieces.extend(component.split_inclusive("..").map(str::to_owned));
                } else {
                    pieces.push(format!("{}{component}", component.len()));
                }
            }
            if let Some(first) = pieces.first_mut() {
                first.insert_str(0, "_ZN");
            }
            // The hash has seventeen letters.
            pieces.push("17h".to_owned());
            pieces
        }
        None => vec![without_numbers(name)],
    }
}

/// `4core3ptr17h...E` in its parts, without the hash.
fn components(mut rest: &str) -> Option<Vec<&str>> {
    let mut components = Vec::new();
    while !rest.starts_with('E') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length: usize = rest.get(..digits)?.parse().ok()?;
        components.push(rest.get(digits..digits + length)?);
        rest = &rest[digits + length..];
    }
    components.pop().is_some_and(|_| !components.is_empty()).then_some(components)
}

/// A name of another kind, without what the compiler has numbered: `Cs5W0dgk5hy74_` for a crate, `.123` for a copy.
fn without_numbers(name: &str) -> String {
    let mut text = String::new();
    let mut rest = name.split_once('.').map_or(name, |(name, _)| name);
    while let Some(at) = rest.find("Cs") {
        let (before, number) = rest.split_at(at + 2);
        text += before;
        rest = match number.find('_') {
            Some(end) if number[..end].bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                text.push('*');
                &number[end..]
            }
            _ => number,
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(functions: &[(&str, u64, bool)]) -> Vec<String> {
        let functions =
            functions.iter().map(|&(name, size, has_run)| Function { name: name.to_owned(), size, has_run });
        let text = script(&functions.collect::<Vec<_>>());
        let lines = text.strip_prefix(HEAD).unwrap().strip_suffix(TAIL).unwrap().lines();
        lines.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn a_function_is_named_without_its_hash_and_what_did_not_run_is_not() {
        let listed = patterns(&[
            ("_ZN5tokio4time5sleep17h0123456789abcdefE", 9000, true),
            ("_ZN5tokio4time4wake17h0123456789abcdefE", 20_000, false),
            ("memcpy", 5, true),
            ("_RNvMNtCsgEmfK2I1SDS_4core4timeNtB2_8Duration3add.1645", 10, true),
        ]);
        assert_eq!(
            listed,
            [
                ".text*._RNvMNtCs*_4core4timeNtB2_8Duration3add*",
                ".text*._ZN5tokio4time5sleep*",
                ".text*.memcpy*"
            ]
        );
    }

    #[test]
    fn what_runs_for_the_most_part_is_named_as_a_whole() {
        let listed = patterns(&[
            ("_ZN2h25proto1a17h0123456789abcdefE", 9000, true),
            ("_ZN2h25proto1b17h0123456789abcdefE", 8000, false),
            ("_ZN4clap1a17h0123456789abcdefE", 8000, false),
        ]);
        assert_eq!(listed, [".text*._ZN2h2*"]);
    }

    #[test]
    fn an_implementation_is_found_whatever_the_length_of_its_name() {
        let listed = patterns(&[
            ("_ZN26_$LT$a..B$u20$as$u20$C$GT$3run17h0123456789abcdefE", 5000, true),
            ("_ZN26_$LT$d..E$u20$as$u20$C$GT$3run17h0123456789abcdefE", 90_000, false),
        ]);
        assert_eq!(listed, [".text*._ZN*_$LT$a..*"]);
    }
}
