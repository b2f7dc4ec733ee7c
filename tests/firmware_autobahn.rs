//! The same suite against a microcontroller: the two images of the firmware, in QEMU.

use core::time::Duration;

use motews_tests::firmware;

use super::{Cases, folder, test_server, test_server_with};

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

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_with_compression_passes() {
    let folder = folder("firmware-compression");
    let firmware = firmware::boot(firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    let title = "autobahn firmware, compressed";
    // An emulated processor takes its time.
    let limit = Duration::from_secs(2 * 3600);
    let cases = Cases {
        limit,
        ..Cases::compressed()
    };
    test_server_with(title, &url, &folder, &cases);
}
