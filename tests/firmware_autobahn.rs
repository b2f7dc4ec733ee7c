//! The same suite against a microcontroller: the firmware, in QEMU.

use motews_tests::firmware;

use super::{folder, test_server};

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_passes() {
    let folder = folder("firmware");
    let firmware = firmware::boot(&folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware", &url, &folder);
}
