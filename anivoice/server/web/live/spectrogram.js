// A spectrogram that rolls, with the line of the pitch.

import { PitchDetector } from "../vendor/pitchy/pitchy.js";

const FFT_SIZE = 2048;
const LOWEST_HZ = 60;
const HIGHEST_HZ = 8000;
const PITCH_HZ = [60, 1000];
const MIN_CLARITY = 0.85;
const QUIET_DB = -50;
const COLUMN_MS = 25;

export class Spectrogram {
  constructor(canvas) {
    this._canvas = canvas;
    this._context = canvas.getContext("2d", { alpha: false, willReadFrequently: false });
    this._lastMs = 0;
    this._lastY = null;
  }

  /** @param {AnalyserNode} analyser */
  listen(analyser) {
    analyser.fftSize = FFT_SIZE;
    analyser.smoothingTimeConstant = 0;
    analyser.minDecibels = -95;
    analyser.maxDecibels = -20;
    this._analyser = analyser;
    this._levels = new Uint8Array(analyser.frequencyBinCount);
    this._samples = new Float32Array(FFT_SIZE);
    this._detector = PitchDetector.forFloat32Array(FFT_SIZE);
    this._detector.minVolumeDecibels = QUIET_DB;
    this._canvas.width = Math.max(this._canvas.clientWidth, 1);
    this._canvas.height = Math.max(this._canvas.clientHeight, 1);
  }

  /** One more column, if it is time. @returns f0 in Hz, or null; undefined when it was not time */
  show(nowMs) {
    if (nowMs - this._lastMs < COLUMN_MS) return undefined;
    this._lastMs = nowMs;
    this._analyser.getByteFrequencyData(this._levels);
    this._analyser.getFloatTimeDomainData(this._samples);
    this._scroll();
    this._drawColumn();
    const f0Hz = this._pitch();
    this._drawPitch(f0Hz);
    return f0Hz;
  }

  _scroll() {
    this._context.drawImage(this._canvas, -2, 0);
  }

  _drawColumn() {
    const { width, height } = this._canvas;
    const binHz = this._analyser.context.sampleRate / FFT_SIZE;
    for (let y = 0; y < height; y += 2) {
      const hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (1 - y / height);
      this._context.fillStyle = colourOf(this._levels[Math.min(Math.round(hz / binHz), this._levels.length - 1)]);
      this._context.fillRect(width - 2, y, 2, 2);
    }
  }

  _pitch() {
    const [hz, clarity] = this._detector.findPitch(this._samples, this._analyser.context.sampleRate);
    return clarity > MIN_CLARITY && hz > PITCH_HZ[0] && hz < PITCH_HZ[1] ? hz : null;
  }

  _drawPitch(f0Hz) {
    const { width, height } = this._canvas;
    const y = f0Hz && height * (1 - Math.log(f0Hz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ));
    if (y && this._lastY) {
      this._context.strokeStyle = "#7df0ff";
      this._context.lineWidth = 2;
      this._context.beginPath();
      this._context.moveTo(width - 3, this._lastY);
      this._context.lineTo(width - 1, y);
      this._context.stroke();
    }
    this._lastY = y;
  }
}

function colourOf(level) {
  const share = level / 255;
  return `hsl(${260 - 215 * share} 80% ${6 + 62 * share}%)`;
}
