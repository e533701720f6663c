// The voice on a second device, for the speaker's own headphones, with a level of its own.

export class Monitor {
  constructor(context, source) {
    this._gain = context.createGain();
    this._context = context;
    this._target = context.createMediaStreamDestination();
    source.connect(this._gain);
    this._player = new Audio();
    this._player.srcObject = this._target.stream;
  }

  /** Rejects where the device is not there. */
  async set({ isOn, deviceId, levelDb }) {
    this._gain.gain.setTargetAtTime(10 ** (levelDb / 20), this._context.currentTime, 0.02);
    this._gain.disconnect();
    if (!isOn) return this._player.pause();
    if (this._player.setSinkId) await this._player.setSinkId(deviceId ?? "");
    this._gain.connect(this._target);
    await this._player.play();
  }

  close() {
    this._player.pause();
    this._player.srcObject = null;
  }
}
