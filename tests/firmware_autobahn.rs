//! The same suite against a microcontroller: the two images of the firmware, in QEMU.

use motews_tests::firmware;

use super::{folder, test_server};

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_passes() {
    let folder = folder("firmware");
    let firmware = firmware::boot(firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_embassy_passes() {
    let folder = folder("embassy");
    let firmware = firmware::boot(firmware::EMBASSY, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn embassy", &url, &folder);
}
