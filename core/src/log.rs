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

macro_rules! trace {
    ($format:literal, $($arg:expr),+) => {{
        #[cfg(feature = "defmt")]
        defmt::trace!($format, $($arg),+);
        #[cfg(feature = "log")]
        log::trace!($format, $($arg),+);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        { $(let _ = &$arg;)+ }
    }};
}

pub(crate) use {debug, trace};
