//! Real peers, in both roles.
