//! The code in README.md, and in the pages of this folder, is compiled.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("compression.md")]
pub struct Compression;

#[cfg(doctest)]
#[doc = include_str!("dwebsocket.md")]
pub struct GuideForUsersOfDwebsocket;

#[cfg(all(doctest, feature = "migration"))]
#[doc = include_str!("migration.md")]
pub struct Migration;
