//! The page of the echo example, in a real browser.
