//! Trace points, through `defmt`, through `log`, through both or through none.

macro_rules! debug {
    ($format:literal, $($arg:expr),+) => {{
        #[cfg(feature = "defmt")]
        defmt::debug!($format, $($arg),+);
        #[cfg(feature = "log")]
        log::debug!($format, $($arg),+);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        { $(let _ = &$arg;)+ }
    }};
}

pub(crate) use debug;
