// The camera, frame by frame: each frame is drawn together with the boxes that were found in it.

const LONGEST = 960; // pixels of a frame's longer side; detectors shrink more than that away anyway

export class Camera {
  /** @param {HTMLVideoElement} video receives the stream. */
  constructor(video) {
    this.video = video;
    this.stream = null;
    this.facing = "environment";
  }

  /** Cameras need a secure page: https, or this very machine. */
  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  get on() {
    return this.stream !== null;
  }

  async start() {
    this.stop();
    const wanted = { facingMode: this.facing, width: { ideal: 1280 }, height: { ideal: 720 } };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  async flip() {
    this.facing = this.facing === "environment" ? "user" : "environment";
    await this.start();
  }

  async count() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((device) => device.kind === "videoinput").length;
  }

  /** Return the present frame as a canvas and as a JPEG. */
  async frame() {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, LONGEST / Math.max(videoWidth, videoHeight, 1));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(videoWidth * scale));
    canvas.height = Math.max(1, Math.round(videoHeight * scale));
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.88));
    return { canvas, blob };
  }
}
