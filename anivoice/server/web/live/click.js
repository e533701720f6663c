// A click that can be found again: a short sweep, whose autocorrelation is one sharp peak.

const CLICK_S = 0.02;
const SWEEP_HZ = [800, 6000];
const MIN_SHARPNESS = 8;

export function makeClick(rateHz) {
  const length = Math.round(CLICK_S * rateHz);
  const click = new Float32Array(length);
  for (let k = 0; k < length; k++) {
    const timeS = k / rateHz;
    const hz = SWEEP_HZ[0] + ((SWEEP_HZ[1] - SWEEP_HZ[0]) * timeS) / (2 * CLICK_S);
    click[k] = 0.8 * Math.sin(2 * Math.PI * hz * timeS) * Math.sin((Math.PI * k) / length) ** 2;
  }
  return click;
}

/**
 * Where the click begins in `samples`, by matched filter. Null if it is not there: if its peak is not well above what
 * the filter says of the rest.
 */
export function findClick(samples, click) {
  let best = 0;
  let bestValue = 0;
  let sum = 0;
  const count = samples.length - click.length;
  for (let place = 0; place < count; place++) {
    let value = 0;
    for (let k = 0; k < click.length; k += 2) value += samples[place + k] * click[k];
    value = Math.abs(value);
    sum += value;
    if (value > bestValue) {
      bestValue = value;
      best = place;
    }
  }
  return bestValue > (MIN_SHARPNESS * sum) / Math.max(count, 1) && bestValue > 1e-3 ? best : null;
}
