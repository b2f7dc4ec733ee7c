//! Nothing but what every program here has; taken off the others' sizes.
#![no_std]
#![no_main]

fn main() {
    motews_linked::machine::hand(0);
}

motews_linked::entry!(main);
