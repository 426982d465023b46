'use strict';

// Each image is a request of its own, so that its card appears as soon as its captions are there.
const REQUESTS_AT_ONCE = 2; // one is sent while the other is captioned
// The parameters that each choice of the page sends; docs/serving.md describes them.
const SEARCHES = {
  neighbors: {search: 'beam'}, // the default of a server with an index
  beam: {search: 'beam', mbr_neighbors: 0},
  samples: {search: 'beam', mbr_neighbors: 0, mbr_samples: 100},
  diverse: {search: 'diverse', mbr_neighbors: 0},
  sample: {search: 'sample'},
};

const $ = (id) => document.getElementById(id);
const options = $('options');
const fields = options.elements;
// The images on the page: the file, its card and preview, and the job that captions it, if any.
const images = [];
// Jobs that have not begun: the image, the form's values, and what aborts the job.
const queue = [];
let running = 0;
// Of the jobs since all were done; those that were aborted do not count.
let total = 0;
let done = 0;
let failed = 0;
// What has become of the last one, for screen readers if there was no other.
let outcome = '';

function element(name, text = '', properties = {}) {
  return Object.assign(document.createElement(name), {textContent: text}, properties);
}

function errorText(message) {
  return element('p', message, {className: 'error'});
}

function formatProbability(logProb) {
  const probability = Math.exp(logProb);
  const percent = 100 * probability;
  return `${percent < 0.001 ? percent.toExponential(0) : Number(percent.toPrecision(2))} %`;
}

// Only if it differs, or screen readers would read it again.
function setStatus(text) {
  if ($('status').textContent !== text) $('status').textContent = text;
}

async function start() {
  $('camera').hidden = !navigator.maxTouchPoints;
  let settings;
  try {
    settings = await (await fetch('/health')).json();
  } catch {
    setStatus('The server does not answer; reload the page to try again.');
    return null;
  }
  fields.beam_width.max = settings.limits.beam_width;
  fields.top.max = settings.limits.top;
  if (!settings.has_index) fields.search.querySelector('[value=neighbors]').remove();
  for (let number = 0; number < settings.samples; number++) addSample(number);
  setLimits();
  return settings;
}

const ready = start();

function addSample(number) {
  const url = `/samples/${number}`;
  const button = element('button', '', {type: 'button'});
  button.append(element('img', '', {src: url, alt: `Caption sample ${number + 1}`}));
  button.addEventListener('click', async () => {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error();
      const blob = await response.blob();
      addImages([new File([blob], `sample ${number + 1}`, {type: blob.type})]);
    } catch {
      setStatus('The server does not answer. Is it still running?');
    }
  });
  const item = element('li');
  item.append(button);
  $('samples').append(item);
  $('try').hidden = false;
}

function addImages(files) {
  const added = [...files].map((file) => {
    const card = element('li', '', {className: 'card'});
    const preview = element('img', '', {src: URL.createObjectURL(file), alt: ''});
    preview.addEventListener('error', () => { preview.hidden = true; });
    card.append(preview, element('h2', file.name), element('p', 'Not captioned yet'));
    return {file, card, preview, job: null};
  });
  images.push(...added);
  $('cards').prepend(...added.map((image) => image.card));
  caption(added);
  // On a phone the cards are below the screen.
  added[0]?.card.scrollIntoView({block: 'nearest'});
}

function caption(chosen) {
  $('again').disabled = $('clear').disabled = $('note').hidden = !images.length;
  if (!options.reportValidity()) {
    setStatus('Correct the options, then choose "Caption again".');
    return;
  }
  for (const image of chosen) {
    abort(image);
    image.job = {image, values: formValues(), controller: new AbortController()};
    queue.push(image.job);
    total += 1;
    image.card.setAttribute('aria-busy', 'true');
    show(image, element('p', 'Waiting …'));
  }
  runNext();
}

function abort(image) {
  const {job} = image;
  if (!job) return;
  job.controller.abort();
  if (queue.includes(job)) queue.splice(queue.indexOf(job), 1);
  image.job = null;
  total -= 1;
}

function formValues() {
  const values = new FormData(options);
  for (const entry of Object.entries(SEARCHES[fields.search.value])) values.set(...entry);
  return [...values.entries()];
}

function runNext() {
  while (running < REQUESTS_AT_ONCE && queue.length) {
    running += 1;
    run(queue.shift()).finally(() => {
      running -= 1;
      runNext();
    });
  }
  report();
}

function report() {
  const isDone = done === total;
  $('bar').hidden = isDone;
  $('bar').max = Math.max(1, total);
  $('bar').value = done;
  if (!total) return;
  if (!isDone) {
    setStatus(`Captioned ${done} of ${total} …`);
    return;
  }
  const summary = `${total} images${failed ? `, ${failed} of them not captioned` : ''}`;
  setStatus(`Done: ${total === 1 ? outcome : summary}`);
  total = done = failed = 0;
}

async function run({image, values, controller}) {
  show(image, element('p', 'Captioning …'));
  let content, summary;
  let isFailed = false;
  try {
    const captions = await send(image.file, values, controller.signal);
    content = captionList(captions);
    summary = captions[0].caption || '(empty)';
  } catch (error) {
    content = errorText(error.message);
    summary = error.message;
    isFailed = true;
  }
  if (controller.signal.aborted) return;
  image.job = null;
  image.card.removeAttribute('aria-busy');
  show(image, content);
  outcome = `${image.file.name}: ${summary}`;
  done += 1;
  failed += isFailed;
}

async function send(file, values, signal) {
  const settings = await ready;
  if (!settings) throw new Error('The server does not answer. Is it still running?');
  if (file.size > settings.limits.request_bytes) {
    const megabytes = settings.limits.request_bytes / 1e6;
    throw new Error(`Too large: this server takes files of up to ${megabytes} MB.`);
  }
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error('This file cannot be read.');
  }
  const form = new FormData();
  for (const [name, value] of values) form.append(name, value);
  form.append('image', file, file.name);
  let response;
  try {
    response = await fetch('/captions', {method: 'POST', body: form, signal});
  } catch {
    throw new Error('The server does not answer. Is it still running?');
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`The server refused the image (status ${response.status}).`);
  }
  const result = answer.images?.[0] ?? answer;
  if (result.error) throw new Error(`Not captioned: ${result.error.replace(/\.$/, '')}.`);
  return result.captions;
}

function captionList(captions) {
  const list = element('ol', '', {ariaLabel: 'Captions and their probabilities'});
  for (const {caption: text, log_prob: logProb} of captions) {
    const item = element('li', text || '(empty)');
    item.append(element('span', formatProbability(logProb)));
    list.append(item);
  }
  return list;
}

function show(image, content) {
  image.card.lastElementChild.replaceWith(content);
}

// A beam yields no more captions than it is wide.
function setLimits() {
  const isSampling = fields.search.value === 'sample';
  fields.beam_width.disabled = isSampling;
  const width = Number(fields.beam_width.value);
  const isTooMany = !isSampling && width && Number(fields.top.value) > width;
  fields.top.setCustomValidity(
    isTooMany ? `A beam of width ${width} gives at most ${width} captions.` : '');
}

options.addEventListener('input', setLimits);

options.addEventListener('submit', (event) => {
  event.preventDefault();
  caption(images);
});

$('clear').addEventListener('click', () => {
  for (const image of images.splice(0)) {
    abort(image);
    URL.revokeObjectURL(image.preview.src);
    image.card.remove();
  }
  total = done = failed = 0;
  report();
  setStatus('Removed all images');
  $('again').disabled = $('clear').disabled = $('note').hidden = true;
  $('choose').focus();
});

for (const id of ['choose', 'photograph']) {
  $(id).addEventListener('change', (event) => {
    addImages(event.target.files);
    event.target.value = '';
  });
}

addEventListener('paste', (event) => {
  if (event.clipboardData.files.length) addImages(event.clipboardData.files);
});

// Anywhere on the page: an image that misses the frame would otherwise replace the page.
addEventListener('dragover', (event) => {
  event.preventDefault();
  $('drop').classList.add('over');
});
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) $('drop').classList.remove('over');
});
addEventListener('drop', (event) => {
  event.preventDefault();
  $('drop').classList.remove('over');
  if (event.dataTransfer.files.length) addImages(event.dataTransfer.files);
});
