//! Nothing but what every program here has; subtracted from the others' sizes.
#![no_std]
#![no_main]

use motews_linked_peers as _;

fn main() {
    motews_linked::machine::hand(0);
}

motews_linked::entry!(main);
