//! The board: QEMU's `virt` machine with a 32-bit RISC-V processor (`-machine virt -bios none`), used
//! like a microcontroller: `virt.x` gives it 256 KiB of flash and 64 KiB of RAM.
//!
//! The network and the random numbers come from virtio devices. What these read and write is in memory
//! of its own, as in a network chip. This is the only module that knows so, and it has the same names
//! as that of the other board.

use core::arch::global_asm;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::task::Waker;

use critical_section::Mutex;
use defmt_semihosting as _;
use portable_atomic::{AtomicBool, Ordering};
use riscv::interrupt::Interrupt;
use riscv::register::mepc;
use riscv_rt::{TrapFrame, core_interrupt};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

pub use riscv_rt::entry;

/// The parts of the board that the application uses.
#[derive(Debug)]
pub struct Board {
    /// The Ethernet device.
    pub ethernet: Ethernet,
    /// A thermometer.
    pub thermometer: Thermometer,
    /// An LED.
    pub led: Led,
}

impl Board {
    /// Starts the clock and the parts. `None` the second time, for there is one board; and if QEMU was
    /// started without a network device.
    #[must_use]
    pub fn take() -> Option<Self> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);

        if IS_TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        let ethernet = Ethernet::start()?;
        for irq in VIRTIO_IRQS {
            write(PLIC_PRIORITY + 4 * irq, 1);
        }
        set_tick(cycles() + TICK);
        // SAFETY: the handlers are ready for these two, and no code relies on them being masked.
        unsafe {
            riscv::interrupt::enable_interrupt(Interrupt::MachineTimer);
            riscv::interrupt::enable_interrupt(Interrupt::MachineExternal);
            riscv::interrupt::enable();
        }
        Some(Self {
            ethernet,
            thermometer: Thermometer::start(),
            led: Led(false),
        })
    }
}

// ---- start ----

// Before the static variables are there, paints all of the RAM that they leave to the stack with
// `stack::PAINT`. cortex-m-rt does the same.
global_asm!(
    ".section .init.pre_init, \"ax\"",
    ".global __pre_init",
    "__pre_init:",
    "la t0, _stack_end",
    "li t1, 0xcccccccc",
    "1: bgeu t0, sp, 2f",
    "sw t1, 0(t0)",
    "addi t0, t0, 4",
    "j 1b",
    "2: ret",
);

// ---- time ----

/// Cycles of the clock in a millisecond.
const TICK: u64 = 10_000;

static ALARM: Mutex<Cell<(u64, fn())>> = Mutex::new(Cell::new((u64::MAX, || {})));

/// Cycles of the clock since the start.
fn cycles() -> u64 {
    loop {
        let high = read(MTIME + 4);
        let low = read(MTIME);
        if read(MTIME + 4) == high {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// Has the timer's interrupt come at that cycle.
fn set_tick(at: u64) {
    write(MTIMECMP + 4, u32::MAX); // Not in between.
    write(MTIMECMP, at as u32);
    write(MTIMECMP + 4, (at >> 32) as u32);
}

#[core_interrupt(Interrupt::MachineTimer)]
fn tick() {
    set_tick(cycles() + TICK);
    let now = millis();
    let ring = critical_section::with(|cs| {
        let (at, ring) = ALARM.borrow(cs).get();
        (at <= now).then(|| {
            ALARM.borrow(cs).set((u64::MAX, ring));
            ring
        })
    });
    if let Some(ring) = ring {
        ring();
    }
}

/// Milliseconds since the start.
#[must_use]
pub fn millis() -> u64 {
    cycles() / TICK
}

defmt::timestamp!("{=u64:ms}", millis());

/// Has `ring` called once, in an interrupt, as soon as [`millis`] is `at` or more. The latest call
/// is in force.
pub fn set_alarm(at: u64, ring: fn()) {
    critical_section::with(|cs| ALARM.borrow(cs).set((at, ring)));
}

/// Waits for the next interrupt: at most a millisecond, and not at all if a frame has come. Within a
/// critical section it is one that pends, and is handled after the section.
pub fn sleep() {
    critical_section::with(|_| {
        // The handler of the device's interrupt masks it; with a frame waiting it is pending at once,
        // and that ends the wait even while interrupts are disabled.
        unmask_virtio();
        riscv::asm::wfi();
    });
}

fn unmask_virtio() {
    write(
        PLIC_ENABLE,
        VIRTIO_IRQS.fold(0, |bits, irq| bits | 1 << irq),
    );
}

/// A virtio device's interrupt: it ends [`sleep`], and wakes who waits for a frame.
#[core_interrupt(Interrupt::MachineExternal)]
fn external() {
    let irq = read(PLIC_CLAIM);
    write(PLIC_CLAIM, irq);
    write(PLIC_ENABLE, 0);
    if let Some(waker) = critical_section::with(|cs| FRAME_WAKER.borrow(cs).take()) {
        waker.wake();
    }
}

// ---- Ethernet ----

/// Frames that wait in the device's memory at most: a burst of them is not lost.
const QUEUE: usize = 8;
/// Bytes for one of them, with what virtio puts before it.
const BUFFER_LEN: usize = PAGE_SIZE / 2;
/// Bytes of the longest frame, without its check sequence.
pub const MAX_FRAME_LEN: usize = 1514;

/// Who waits for a frame.
static FRAME_WAKER: Mutex<Cell<Option<Waker>>> = Mutex::new(Cell::new(None));

/// The Ethernet device.
pub struct Ethernet {
    device: VirtIONetRaw<Pages, MmioTransport<'static>, QUEUE>,
    received: &'static mut [[u8; BUFFER_LEN]; QUEUE],
    sent: &'static mut [u8; BUFFER_LEN],
    /// The buffer whose frame has been read, and that the device has not got back yet.
    read: Option<u16>,
    /// The frame that is on its way.
    sending: Option<u16>,
}

impl core::fmt::Debug for Ethernet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ethernet").finish_non_exhaustive()
    }
}

impl Ethernet {
    fn start() -> Option<Self> {
        let device = VirtIONetRaw::new(device(DeviceType::Network)?).ok()?;
        let [sent] = allocate()?;
        let mut ethernet = Self {
            device,
            received: allocate()?,
            sent,
            read: None,
            sending: None,
        };
        for index in 0..QUEUE as u16 {
            ethernet.lend(index);
        }
        Some(ethernet)
    }

    /// The address that QEMU gave the device.
    #[must_use]
    pub fn address(&self) -> [u8; 6] {
        self.device.mac_address()
    }

    /// Lends a buffer to the device, for a frame to come.
    fn lend(&mut self, index: u16) {
        let Some(buffer) = self.received.get_mut(usize::from(index)) else {
            return;
        };
        // SAFETY: the buffer is static, and not looked at before `receive_complete`, in `receive`.
        let token = unsafe { self.device.receive_begin(buffer) };
        // The descriptors are used up one by one, and then there is one only that is free: that of
        // the buffer which was read last. The safety of `receive_complete` rests on this.
        if token != Ok(index) {
            exit(103);
        }
    }

    /// A frame that has come, and room for an answer. `None`: no frame, or no room.
    pub fn receive(&mut self) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if let Some(index) = self.read.take() {
            self.lend(index);
        }
        if !self.is_transmitter_free() {
            return None;
        }
        if !self.has_received() {
            // From here on the next frame interrupts again.
            self.device.ack_interrupt();
        }
        let index = self.device.poll_receive()?;
        let buffer = self.received.get_mut(usize::from(index))?;
        self.read = Some(index);
        // SAFETY: it is the buffer that `lend` gave the device under this number.
        let lens = unsafe { self.device.receive_complete(index, buffer) };
        let (header, len) = lens.unwrap_or_default();
        let frame = buffer.get_mut(header..header + len).unwrap_or_default();
        let tx = TxToken {
            device: &mut self.device,
            buffer: self.sent,
            sending: &mut self.sending,
        };
        Some((RxToken(frame), tx))
    }

    /// Room for a frame to send. `None`: another one is still on its way.
    pub fn transmit(&mut self) -> Option<TxToken<'_>> {
        self.is_transmitter_free().then(|| TxToken {
            device: &mut self.device,
            buffer: self.sent,
            sending: &mut self.sending,
        })
    }

    /// Whether a frame has come.
    #[must_use]
    pub fn has_received(&self) -> bool {
        self.device.poll_receive().is_some()
    }

    /// Whether there is room for a frame to send. There soon is.
    #[must_use]
    pub fn is_transmitter_free(&mut self) -> bool {
        if let Some(token) = self.sending
            && self.device.poll_transmit() == Some(token)
        {
            // SAFETY: it is the buffer that `TxToken::consume` gave the device under this number,
            // up to the length of the frame, which the device does not change.
            _ = unsafe { self.device.transmit_complete(token, self.sent) };
            self.sending = None;
        }
        self.sending.is_none()
    }

    /// Has `waker` woken, once, as soon as a frame has come; at once, if there is one. The latest
    /// call is in force.
    pub fn wake_on_frame(&mut self, waker: &Waker) {
        critical_section::with(|cs| FRAME_WAKER.borrow(cs).set(Some(waker.clone())));
        unmask_virtio();
    }
}

/// A frame that has come.
#[derive(Debug)]
pub struct RxToken<'a>(&'a mut [u8]);

impl RxToken<'_> {
    /// Lends the frame to `f`.
    pub fn consume<T>(self, f: impl FnOnce(&mut [u8]) -> T) -> T {
        f(self.0)
    }
}

/// Room for a frame to send.
pub struct TxToken<'a> {
    device: &'a mut VirtIONetRaw<Pages, MmioTransport<'static>, QUEUE>,
    buffer: &'a mut [u8; BUFFER_LEN],
    sending: &'a mut Option<u16>,
}

impl core::fmt::Debug for TxToken<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TxToken").finish_non_exhaustive()
    }
}

impl TxToken<'_> {
    /// Sends the frame of `len` bytes that `f` writes. More than [`MAX_FRAME_LEN`] are not sent.
    pub fn consume<T>(self, len: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
        let header = self.device.fill_buffer_header(self.buffer).unwrap_or(0);
        let frame = self.buffer.get_mut(header..header + len);
        let Some(frame) = frame.filter(|frame| frame.len() <= MAX_FRAME_LEN) else {
            return f(&mut []);
        };
        let result = f(frame);
        let whole = self.buffer.get(..header + len).unwrap_or_default();
        // SAFETY: the buffer is static, and not looked at before `transmit_complete`, in
        // `is_transmitter_free`.
        *self.sending = unsafe { self.device.transmit_begin(whole) }.ok();
        result
    }
}

// ---- virtio ----

/// The device of that type, if QEMU was started with one.
fn device(wanted: DeviceType) -> Option<MmioTransport<'static>> {
    let mut slots = VIRTIO_IRQS.map(|irq| VIRTIO + VIRTIO_LEN * (irq - 1));
    // A look at the others through `MmioTransport` would reset them.
    let slot = slots.find(|slot| read(slot + VIRTIO_DEVICE_ID) == wanted as u32)?;
    let header = NonNull::new(ptr::with_exposed_provenance_mut(slot as usize))?;
    // SAFETY: the registers of a device are there, and each type of device is asked for once at a time.
    unsafe { MmioTransport::new(header, VIRTIO_LEN as usize) }.ok()
}

unsafe extern "C" {
    /// Where the memory that the devices share begins.
    static mut _dma_start: [[u8; PAGE_SIZE]; PAGES];
}

/// Pages of it: four for the network's two queues, four for frames that come, one for those that go,
/// and two for random numbers.
const PAGES: usize = 12;

/// The pages in use, a bit for each.
static IN_USE: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

/// The memory that the devices share, which has the same address for them.
struct Pages;

// SAFETY: a page is handed out once, zeroed, until it comes back; it is aligned by the linker script.
unsafe impl Hal for Pages {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let mask = (1 << pages) - 1;
        let first = critical_section::with(|cs| {
            let in_use = IN_USE.borrow(cs);
            let mut places = 0..=PAGES.saturating_sub(pages);
            let first = places.find(|first| in_use.get() & (mask << first) == 0)?;
            in_use.set(in_use.get() | mask << first);
            Some(first)
        });
        let Some(first) = first else {
            return (0, NonNull::dangling());
        };
        let start = (&raw mut _dma_start).cast::<u8>();
        // SAFETY: the pages are inside the memory, and no one else's.
        unsafe {
            let start = start.add(first * PAGE_SIZE);
            start.write_bytes(0, pages * PAGE_SIZE);
            (
                start.expose_provenance() as PhysAddr,
                NonNull::new_unchecked(start),
            )
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, address: NonNull<u8>, pages: usize) -> i32 {
        let first = (address.addr().get() - (&raw const _dma_start).addr()) / PAGE_SIZE;
        critical_section::with(|cs| {
            let in_use = IN_USE.borrow(cs);
            in_use.set(in_use.get() & !(((1 << pages) - 1) << first));
        });
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        let address = ptr::with_exposed_provenance_mut(address as usize);
        // It is asked for by PCI alone, which is not used.
        NonNull::new(address).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Memory for buffers, which is never given back.
fn allocate<const COUNT: usize>() -> Option<&'static mut [[u8; BUFFER_LEN]; COUNT]> {
    let pages = (COUNT * BUFFER_LEN).div_ceil(PAGE_SIZE);
    let (address, start) = Pages::dma_alloc(pages, BufferDirection::Both);
    // SAFETY: the pages are ours now, for ever, and zeros are bytes.
    (address != 0).then(|| unsafe { start.cast().as_mut() })
}

// ---- thermometer and LED ----

/// A thermometer. The machine has none: this one makes its samples up, noise around 34 °C.
#[derive(Debug)]
pub struct Thermometer {
    rate: u32,
    next: u64,
    noise: u32,
}

impl Thermometer {
    /// Samples in a second, at least and at most.
    pub const RATES: core::ops::RangeInclusive<u32> = 1..=50;

    fn start() -> Self {
        Self {
            rate: 10,
            next: 0,
            noise: 1,
        }
    }

    /// Samples in a second.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Has `rate` samples taken in a second, or as many as [`RATES`](Self::RATES) allows.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate.clamp(*Self::RATES.start(), *Self::RATES.end());
        self.next = 0;
    }

    /// The next sample, in thousandths of a degree Celsius. `None`: none has been taken yet.
    pub fn sample(&mut self) -> Option<i32> {
        let now = millis();
        if now < self.next {
            return None;
        }
        self.next = now + u64::from(1000 / self.rate);
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        Some(33_000 + (self.noise >> 21) as i32)
    }
}

/// An LED. The machine has none: this one is a variable.
#[derive(Debug)]
pub struct Led(bool);

impl Led {
    /// Switches it.
    pub fn set(&mut self, on: bool) {
        self.0 = on;
    }

    /// Whether it is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0
    }
}

// ---- random numbers, and the end ----

/// A seed for the random numbers that a client needs (RFC 6455 §10.3), from the machine's generator.
/// `None`: QEMU was started without it, and so there is no masking key and no client.
#[must_use]
pub fn seed() -> Option<[u8; 32]> {
    let device = device(DeviceType::EntropySource)?;
    let mut generator = VirtIORng::<Pages, _>::new(device).ok()?;
    let mut seed = [0; 32];
    let len = generator.request_entropy(&mut seed).ok()?;
    (len == seed.len()).then_some(seed)
}

/// A bug, or a stack that has met the static variables.
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn fault(_: &TrapFrame) -> ! {
    defmt::error!("a fault at {=usize:#x}", mepc::read());
    exit(102)
}

/// Ends the emulation, with the operating system's exit code.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

// ---- registers ----

const MTIMECMP: u32 = 0x0200_4000;
const MTIME: u32 = 0x0200_bff8;

const PLIC_PRIORITY: u32 = 0x0c00_0000;
const PLIC_ENABLE: u32 = 0x0c00_2000;
const PLIC_CLAIM: u32 = 0x0c20_0004;

/// Eight devices, with an interrupt each.
const VIRTIO_IRQS: core::ops::RangeInclusive<u32> = 1..=8;
const VIRTIO: u32 = 0x1000_1000;
const VIRTIO_LEN: u32 = 0x1000;
const VIRTIO_DEVICE_ID: u32 = 0x08;

fn read(register: u32) -> u32 {
    // SAFETY: callers are in this module and name registers of this machine, which are always there.
    unsafe { ptr::with_exposed_provenance::<u32>(register as usize).read_volatile() }
}

fn write(register: u32, bits: u32) {
    // SAFETY: as in `read`; no register here has the machine access memory.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(register as usize).write_volatile(bits) }
}
