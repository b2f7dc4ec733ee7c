//! `traceability.md` is true: each requirement has its row, each place named there carries the
//! requirement's mark, and each test named there is a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .expect("tests is a folder of the workspace")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Two capital letters and two digits, `FR13`.
fn is_id(word: &str) -> bool {
    let [a, b, c, d] = word.as_bytes() else {
        return false;
    };
    a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit()
}

struct Row {
    id: String,
    requirement: String,
    kept_by: String,
    shown_by: String,
}

fn rows() -> Vec<Row> {
    read("tests/traceability.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
            let id = cells.next()?.trim();
            let row = Row {
                id: is_id(id).then(|| id.to_owned())?,
                requirement: cells.nth(2).unwrap_or_default().trim().to_owned(),
                kept_by: cells.next().unwrap_or_default().trim().to_owned(),
                shown_by: cells.next().unwrap_or_default().trim().to_owned(),
            };
            assert_eq!(cells.next(), None, "{id}: too many cells");
            Some(row)
        })
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn is_file(word: &str) -> bool {
    word.contains('/') && word.ends_with(".rs")
}

/// The ids of the checklist: so many of each kind, counted from 01.
const KINDS: [(&str, usize); 10] = [
    ("HC", 25), // the opening handshake, client
    ("HS", 23), // the opening handshake, server
    ("HT", 16), // HTTP around the opening handshake
    ("FR", 18), // framing
    ("MS", 16), // fragmentation and messages
    ("CT", 7),  // control frames
    ("CL", 22), // closing
    ("EX", 5),  // extensions and general
    ("PD", 30), // permessage-deflate
    ("BC", 22), // bug classes of other implementations
];

#[test]
fn table_each_requirement_has_one_row() {
    let expected: Vec<String> = KINDS
        .iter()
        .flat_map(|(kind, count)| (1..=*count).map(move |number| format!("{kind}{number:02}")))
        .collect();
    let rows = rows();
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, expected);
    for row in rows {
        assert!(!row.requirement.is_empty(), "{}", row.id);
    }
}

#[test]
fn table_each_place_carries_the_mark() {
    for row in rows() {
        let files: Vec<&str> = quoted(&row.kept_by).filter(|word| is_file(word)).collect();
        for file in &files {
            let mark = format!("[{}]", row.id);
            assert!(read(file).contains(&mark), "{file} does not carry {mark}");
        }
        // Either a place, or why there is none.
        assert!(
            !files.is_empty() || row.kept_by.len() > 20,
            "{} is kept by nothing",
            row.id
        );
    }
}

/// The names of the tests in a file: functions under `#[test]`.
fn tests(source: &str) -> BTreeSet<&str> {
    let mut under_test = false;
    let mut names = BTreeSet::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            under_test = true;
        } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ") {
            if under_test {
                names.extend(rest.split('(').next());
            }
            under_test = false;
        } else if line == "}" {
            under_test = false;
        }
    }
    names
}

#[test]
fn table_each_test_exists() {
    let mut sources = BTreeMap::new();
    for row in rows() {
        let mut shown = 0;
        let mut file = None;
        for word in quoted(&row.shown_by) {
            if is_file(word) {
                sources.entry(word.to_owned()).or_insert_with(|| read(word));
                file = Some(word);
                continue;
            }
            let file = file.unwrap_or_else(|| panic!("{}: `{word}` is in no file", row.id));
            assert!(
                tests(&sources[file]).contains(word),
                "{}: {file} has no test `{word}`",
                row.id
            );
            shown += 1;
        }
        // Either a test, or why there is none.
        assert!(
            shown > 0 || row.shown_by.len() > 20,
            "{} is shown by nothing",
            row.id
        );
    }
}

/// The Rust sources below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn code_each_mark_has_a_row() {
    let ids: BTreeSet<String> = rows().into_iter().map(|row| row.id).collect();
    let mut found = Vec::new();
    for folder in ["core/src", "adapters", "examples"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 10, "the sources are found");
    for path in found {
        let source = fs::read_to_string(&path).expect("a readable source");
        for word in source.split(['[', ']']).filter(|word| is_id(word)) {
            assert!(
                ids.contains(word),
                "{}: [{word}] has no row",
                path.display()
            );
        }
    }
}
