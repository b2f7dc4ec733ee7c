//! A hostile afternoon: the echo example among peers that mean ill.
