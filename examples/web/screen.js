// A screen for the pages that show video: frames in, pictures out, and how well that goes.
//
// A frame is a binary message: a head of 16 bytes, big endian, and a JPEG.
//   0  u32  the number of the frame; a number left out was skipped for this viewer
//   4  u32  the last command that had taken effect when the picture was made (video_control)
//   8  f64  when in the film it is, in seconds (video: since the server began)
"use strict";

const HEAD = 16;
const WINDOW = 2000;           // milliseconds that rates are taken over
const WARM_UP = 1000;          // milliseconds after a connection in which gaps do not count

class Screen {
  // shown(frame): a picture is on the screen. `frame` is { number, applied, time, bytes, came }.
  constructor(canvas, shown) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.shown = shown;
    this.reset();
  }

  // A new connection: what is measured begins anew.
  reset() {
    this.run = (this.run ?? 0) + 1;
    this.started = performance.now();
    this.frames = 0;           // that came
    this.pictures = 0;         // that were shown
    this.skipped = 0;          // that the server left out for this viewer
    this.dropped = 0;          // that came too fast for this browser
    this.number = null;
    this.newest = null;        // waits while another is decoded
    this.busy = false;
    this.recent = [];          // { came, bytes } of the last two seconds
    this.gaps = [];            // milliseconds between the last 120 pictures
    this.longest = 0;          // gap, after the warm-up
    this.at = 0;               // when the last picture was shown
  }

  receive(buffer) {
    if (buffer.byteLength <= HEAD) return null;
    const view = new DataView(buffer);
    const frame = {
      number: view.getUint32(0), applied: view.getUint32(4), time: view.getFloat64(8),
      bytes: buffer.byteLength, came: performance.now(), run: this.run,
      jpeg: new Blob([new Uint8Array(buffer, HEAD)], { type: "image/jpeg" }),
    };
    if (this.number !== null) this.skipped += Math.max(0, frame.number - this.number - 1);
    this.number = frame.number;
    this.frames += 1;
    this.recent.push({ came: frame.came, bytes: frame.bytes });
    // One at a time is decoded, and of those that come meanwhile only the newest is kept: what is
    // seen is never old.
    if (this.newest !== null) this.dropped += 1;
    this.newest = frame;
    if (!this.busy) this.decode();
    return frame;
  }

  async decode() {
    this.busy = true;
    while (this.newest !== null) {
      const frame = this.newest;
      this.newest = null;
      try {
        const picture = await createImageBitmap(frame.jpeg);
        if (frame.run === this.run) this.draw(picture, frame);
        picture.close();
      } catch {
        this.dropped += 1;
      }
    }
    this.busy = false;
  }

  draw(picture, frame) {
    const { canvas } = this;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
      canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    }
    this.context.drawImage(picture, 0, 0);
    this.pictures += 1;
    const now = performance.now();
    if (this.at > 0) {
      const gap = now - this.at;
      this.gaps.push(gap);
      if (this.gaps.length > 120) this.gaps.shift();
      if (now - this.started > WARM_UP && this.at > this.started) this.longest = Math.max(this.longest, gap);
    }
    this.at = now;
    this.shown(frame);
  }

  // A pause is no gap.
  rest() { this.at = 0; }

  // Frames and bits of a second, over the last two.
  rates() {
    const now = performance.now();
    while (this.recent.length > 0 && now - this.recent[0].came > WINDOW) this.recent.shift();
    const over = Math.min(WINDOW, Math.max(250, now - this.started)) / 1000;
    const bytes = this.recent.reduce((sum, { bytes }) => sum + bytes, 0);
    return { fps: this.recent.length / over, bits: bytes * 8 / over };
  }

  // The gaps between the last pictures, as bars: a stall would stand out.
  plot(canvas) {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    context.clearRect(0, 0, width, height);
    const most = Math.max(100, ...this.gaps);
    const step = width / 120;
    this.gaps.forEach((gap, index) => {
      const bar = Math.max(ratio, gap / most * (height - 2 * ratio));
      context.fillStyle = style.getPropertyValue(gap > 100 ? "--bad" : "--accent");
      context.fillRect((120 - this.gaps.length + index) * step, height - bar, Math.max(1, step - ratio), bar);
    });
  }
}

const bitrate = (bits) => bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`;
const timecode = (time) => {
  const tenths = Math.max(0, Math.floor(time * 10 + 1e-6));
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
};

// A button that gives `stage` the whole screen, where the browser can.
function fullScreen(button, stage) {
  button.hidden = !document.fullscreenEnabled;
  button.onclick = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen();
  };
}
