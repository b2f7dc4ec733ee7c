//! Who may import what: `imports.md` lists, for each file of an adapter, the items of core that it
//! imports. An item that is not listed there fails this test, so whoever writes a decision about the
//! protocol into an adapter meets the table first; a listed item that is not imported fails it, too.
//!
//! And imports run one way: no two files of a crate import each other, however many lie between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file, and what it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests is a folder of the workspace")
        .to_owned()
}

/// The source files below `folder`, by their path from the root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it lies below").to_owned();
                let text = fs::read_to_string(&path).expect("it is text");
                found.push((
                    name.to_str().expect("its name is text").to_owned(),
                    code(&text),
                ));
            }
        }
    }
    found.sort();
    found
}

/// A file without its comments, and without its own tests.
fn code(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The leaves of what follows `start::` in `use` declarations and in paths.
fn imported(code: &str, start: &str) -> BTreeSet<String> {
    let mut items = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | ':')) {
            continue;
        }
        leaves("", &code[at + start.len()..], &mut items);
    }
    items
}

/// The leaves of a use tree or a path at the start of `code`, and how long it is.
fn leaves(prefix: &str, code: &str, items: &mut BTreeSet<String>) -> usize {
    if code.starts_with('{') {
        let mut at = 1;
        loop {
            at += code[at..]
                .find(|char: char| !char.is_whitespace() && char != ',')
                .expect("it ends");
            if code[at..].starts_with('}') {
                return at + 1;
            }
            at += leaves(prefix, &code[at..], items);
        }
    }
    let len = code
        .find(|char: char| !char.is_alphanumeric() && !matches!(char, '_' | '*'))
        .unwrap_or(code.len());
    let path = format!("{prefix}{}", &code[..len]);
    // A module goes on; an item and what belongs to it (`Timeouts::DEFAULT`) do not.
    let is_module = code.starts_with(char::is_lowercase) && code[len..].starts_with("::");
    if is_module {
        return len + 2 + leaves(&format!("{path}::"), &code[len + 2..], items);
    }
    items.insert(path);
    let rest = code[len..]
        .find([',', '}', ';', ')', ' ', '\n', '(', '<', '>', '{'])
        .unwrap_or(0);
    // `as Name` belongs to it.
    let renamed = code[len + rest..].strip_prefix(" as ").map_or(0, |name| {
        4 + name
            .find(|char: char| !char.is_alphanumeric() && char != '_')
            .unwrap_or(name.len())
    });
    len + rest + renamed
}

fn imports_of_core() -> Imports {
    ["embedded-io", "smoltcp", "std", "tokio"]
        .iter()
        .flat_map(|adapter| sources(&format!("adapters/{adapter}/src")))
        .map(|(file, code)| (file, imported(&code, "motews::")))
        .filter(|(_, items)| !items.is_empty())
        .collect()
}

fn table(imports: &Imports) -> String {
    let mut table = String::from("| file | items of core |\n|---|---|\n");
    for (file, items) in imports {
        let items: Vec<_> = items.iter().map(|item| format!("`{item}`")).collect();
        table += &format!("| {file} | {} |\n", items.join(", "));
    }
    table
}

#[test]
fn adapters_import_of_core_what_the_table_allows() {
    let path = root().join("tests/imports.md");
    let text = fs::read_to_string(&path).expect("the table is there");
    let start = text.find("| file |").expect("the table begins");
    let now = table(&imports_of_core());
    if std::env::var_os("MOTEWS_BLESS").is_some() {
        fs::write(&path, format!("{}{now}", &text[..start])).expect("it can be written");
        return;
    }
    let allowed: Vec<_> = text[start..].lines().collect();
    for line in now.lines() {
        assert!(
            allowed.contains(&line),
            "tests/imports.md does not allow this:\n{line}"
        );
    }
    assert_eq!(
        text[start..],
        now,
        "tests/imports.md allows what no one imports"
    );
}

/// What decides about an open connection is used through a session only. One file names the type, for
/// a method that lends a session's connection to be looked at.
#[test]
fn adapters_use_no_connection_without_its_session() {
    for (file, items) in imports_of_core() {
        let lends_it = file == "adapters/embedded-io/src/face.rs";
        assert!(
            lends_it || !items.contains("Connection"),
            "{file} imports Connection"
        );
    }
}

/// The file that a path of modules names, of those that there are.
fn resolve(folder: &str, path: &str, files: &BTreeSet<String>) -> Option<String> {
    let mut found = None;
    let mut place = folder.to_owned();
    for module in path.split("::") {
        place = format!("{place}/{module}");
        for name in [format!("{place}.rs"), format!("{place}/mod.rs")] {
            if files.contains(&name) {
                found = Some(name);
            }
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let mut circles = Vec::new();
    for source in [
        "core/src",
        "adapters/embedded-io/src",
        "adapters/smoltcp/src",
        "adapters/std/src",
        "adapters/tokio/src",
    ] {
        let sources = sources(source);
        let files: BTreeSet<_> = sources.iter().map(|(file, _)| file.clone()).collect();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, code) in &sources {
            // lib.rs and a folder's mod.rs put names in order; who imports by them is not known.
            let own = file.rsplit_once('/').expect("it lies in a folder").0;
            let parent = own.rsplit_once('/').expect("so does that").0;
            let from = arrows.entry(file.clone()).or_default();
            for (start, base) in [
                ("crate::", source),
                (
                    "super::",
                    if file.ends_with("/mod.rs") {
                        parent
                    } else {
                        own
                    },
                ),
            ] {
                for item in imported(code, start) {
                    from.extend(resolve(base, &item, &files).filter(|to| to != file));
                }
            }
        }
        for start in &files {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(file) = next.pop() {
                for to in &arrows[&file] {
                    if to == start {
                        circles.push(format!("{start} <- {file}"));
                    } else if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
        }
    }
    // Those that are left stand in the list `circles.md`, so that none is added unseen.
    circles.sort();
    let circles: String = circles
        .iter()
        .map(|circle| format!("- {circle}\n"))
        .collect();
    let path = root().join("tests/circles.md");
    if std::env::var_os("MOTEWS_BLESS").is_some() {
        let text = fs::read_to_string(&path).expect("the list is there");
        let start = text.find("\n- ").map_or(text.len(), |start| start + 1);
        fs::write(&path, format!("{}{circles}", &text[..start])).expect("it can be written");
        return;
    }
    let text = fs::read_to_string(&path).expect("the list is there");
    let left = text.find("\n- ").map_or("", |start| &text[start + 1..]);
    assert_eq!(
        circles, left,
        "tests/circles.md lists the circles that are left"
    );
}

/// A test that cargo does not know would never run.
#[test]
fn packages_of_tests_every_file_is_part_of_a_target() {
    for package in [
        "core/tests",
        "adapters/std/tests",
        "adapters/tokio/tests",
        "tests",
    ] {
        let folder = root().join(package);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a package");
        let files: Vec<String> = fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be read").file_name())
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name.ends_with(".rs"))
            .collect();
        assert!(!files.is_empty(), "{package}");
        for file in &files {
            let as_module = format!("#[path = \"{file}\"]");
            let is_module = || {
                let text =
                    |name: &String| fs::read_to_string(folder.join(name)).expect("it is text");
                files.iter().any(|other| text(other).contains(&as_module))
            };
            let is_target = manifest.contains(&format!("path = \"{file}\""));
            assert!(is_target || is_module(), "{package}/{file} is never built");
        }
    }
}

/// Their manifests say `test = false` for the library: tests inside would never run.
#[test]
fn libraries_that_are_tested_from_outside_have_no_tests_inside() {
    for package in [
        "core",
        "adapters/embedded-io",
        "adapters/smoltcp",
        "testkit",
    ] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml"));
        assert!(
            manifest.expect("a package").contains("\ntest = false\n"),
            "{package}"
        );
        for (path, _) in sources(&format!("{package}/src")) {
            let text = fs::read_to_string(root().join(&path)).expect("it is text");
            assert!(!text.contains("cfg(test)"), "{path}");
        }
    }
}
