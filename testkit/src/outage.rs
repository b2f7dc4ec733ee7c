//! A table of what goes wrong with a connection and what its client does: made by a test, kept in a
//! page, and compared with it, so that it cannot lie.

use core::fmt::Write;
use core::ops::RangeInclusive;
use std::path::Path;
use std::{env, fs};

use motews::interruption::{Interrupted, Interruption};
use motews::reconnect::Cause;

/// The rows so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(String);

impl Table {
    /// Adds what the client has reported `after` so many milliseconds. It says when it tries again,
    /// which has to be within `wait`.
    ///
    /// # Panics
    /// If it is not.
    pub fn row<E: core::fmt::Debug>(
        &mut self,
        what: &str,
        (interruption, after): (Interruption<Cause, E>, u64),
        wait: Option<RangeInclusive<u32>>,
        note: &str,
    ) {
        let report = match &interruption.reason {
            Interrupted::Connection(ended, _) | Interrupted::Attempt(Cause::Ended(ended)) => {
                ended.to_string()
            }
            Interrupted::Attempt(cause) => format!("`Cause::{cause:?}`"),
            reason => format!("{reason:?}"),
        };
        let next = interruption.retry_in.map(|wait| wait.as_millis() as u32);
        let is_right = match (&wait, next) {
            (Some(wait), Some(next)) => wait.contains(&next),
            (None, None) => true,
            _ => false,
        };
        assert!(is_right, "{what}: {interruption:?}, in {next:?} ms");
        let wait = match wait.map(RangeInclusive::into_inner) {
            None => "never".to_owned(),
            Some((0, most)) => format!("within {} s", most / 1000),
            Some((least, most)) if least == most => format!("after {} s", least / 1000),
            Some((least, most)) => format!("after {} to {} s", least / 1000, most / 1000),
        };
        let separator = if note.is_empty() { "" } else { ": " };
        let tenths = after / 100;
        let after = format!("{}.{} s", tenths / 10, tenths % 10);
        self.line(&[what, &report, &after, &format!("{wait}{separator}{note}")]);
    }

    /// Adds a row of one's own.
    pub fn line(&mut self, cells: &[&str]) {
        _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    /// Compares the rows with those of `docs/device.md` between the comments with this name. With
    /// `MOTEWS_BLESS` in the environment they are written there.
    ///
    /// # Panics
    /// If they differ.
    pub fn check(&self, name: &str) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/device.md");
        let text = fs::read_to_string(&page).expect("the page is there");
        let begin = format!("<!-- {name} -->\n");
        let (before, rest) = text.split_once(&begin).expect("the table begins");
        let (_, after) = rest.split_once("<!-- end -->").expect("the table ends");
        let head = "\n| what goes wrong | what the client reports | after | next attempt |\n|---|---|--:|---|\n";
        let wanted = format!("{before}{begin}{head}{}\n<!-- end -->{after}", self.0);
        if env::var_os("MOTEWS_BLESS").is_some() {
            fs::write(&page, &wanted).expect("the page can be written");
        } else {
            assert!(
                text == wanted,
                "docs/device.md is not what was seen:\n{}",
                self.0
            );
        }
    }
}
