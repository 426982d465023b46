'use strict';

// Each image is a request of its own, so that its card appears as soon as its captions are there;
// the server captions those that wait together.
const REQUESTS_AT_ONCE = 4;
const TRIES = 10;

const $ = (id) => document.getElementById(id);
const options = $('options');
// The images on the page: the file, its card, and the number of the last time it was captioned.
const images = [];
const waiting = [];
let settings = null;
let running = 0;
// Of those that were asked for since all were done.
let total = 0;
let done = 0;
// What has become of the last one, for screen readers if there was no other.
let outcome = '';

function element(name, text = '', properties = {}) {
  return Object.assign(document.createElement(name), {textContent: text}, properties);
}

function formatProbability(logProb) {
  const probability = Math.exp(logProb);
  if (probability < 1e-4) return probability.toExponential(0);
  return `${Number((100 * probability).toPrecision(2))} %`;
}

async function start() {
  $('camera').hidden = !navigator.maxTouchPoints;
  try {
    settings = await (await fetch('/health')).json();
  } catch {
    $('status').textContent = 'The server does not answer; reload the page to try again.';
    return;
  }
  options.elements.beam_width.max = settings.limits.beam_width;
  options.elements.top.max = settings.limits.top;
  if (settings.models.length > 1) {
    settings.models.forEach((name, index) => {
      const label = element('label');
      label.append(
        element('input', '', {type: 'checkbox', name: 'models', value: index + 1, checked: true}),
        element('span', `${index + 1}: ${name}`),
      );
      $('models').append(label);
    });
    $('models').hidden = false;
  }
  for (let number = 0; number < settings.samples; number++) addSample(number);
}

function addSample(number) {
  const url = `/samples/${number}`;
  const button = element('button', '', {type: 'button'});
  button.append(element('img', '', {src: url, alt: `Caption sample ${number + 1}`}));
  button.addEventListener('click', async () => {
    const blob = await (await fetch(url)).blob();
    addImages([new File([blob], `sample ${number + 1}`, {type: blob.type})]);
  });
  const item = element('li');
  item.append(button);
  $('samples').append(item);
  $('try').hidden = false;
}

function addImages(files) {
  const added = [...files].map((file) => {
    const image = {file, card: element('li', '', {className: 'card'}), turn: 0};
    const preview = element('img', '', {src: URL.createObjectURL(file), alt: ''});
    preview.addEventListener('error', () => { preview.hidden = true; });
    image.card.append(preview, element('h2', file.name), element('div'));
    return image;
  });
  images.push(...added);
  $('cards').prepend(...added.map((image) => image.card));
  added.forEach(caption);
}

function caption(image) {
  if (!options.reportValidity()) {
    show(image, element('p', 'Correct the options, then choose "Caption again".'));
    return;
  }
  image.turn += 1;
  waiting.push({image, turn: image.turn, parameters: parameters()});
  total += 1;
  image.card.setAttribute('aria-busy', 'true');
  show(image, element('p', 'Waiting …'));
  runNext();
}

function parameters() {
  const values = new FormData(options);
  const models = values.getAll('models');
  if (models.length) values.set('models', models.join(','));
  return [...values.entries()];
}

function runNext() {
  while (running < REQUESTS_AT_ONCE && waiting.length) {
    running += 1;
    run(waiting.shift()).finally(() => {
      running -= 1;
      done += 1;
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
  $('again').disabled = $('clear').disabled = !images.length;
  if (!total) return;
  $('status').textContent = isDone
    ? `Done: ${total === 1 ? outcome : `${total} images`}`
    : `Captioned ${done} of ${total} …`;
  if (isDone) total = done = 0;
}

async function run({image, turn, parameters: values}) {
  const isCurrent = () => image.turn === turn;
  if (!isCurrent()) return;
  show(image, element('p', 'Captioning …'));
  let content, summary;
  try {
    const captions = await send(image.file, values);
    content = captionList(captions);
    summary = captions[0].caption;
  } catch (error) {
    content = element('p', error.message, {className: 'error'});
    summary = error.message;
  }
  if (!isCurrent()) return;
  outcome = `${image.file.name}: ${summary}`;
  image.card.firstElementChild.alt = summary;
  image.card.removeAttribute('aria-busy');
  show(image, content);
}

async function send(file, values) {
  await ready;
  if (!settings) throw new Error('The server does not answer. Is it still running?');
  if (file.size > settings.limits.image_bytes) {
    const megabytes = Math.floor(settings.limits.image_bytes / 1e5) / 10;
    throw new Error(`Too large: this server takes images of up to ${megabytes} MB.`);
  }
  const form = new FormData();
  for (const [name, value] of values) form.append(name, value);
  form.append('image', file, file.name);
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch('/captions', {method: 'POST', body: form});
    } catch {
      throw new Error('The server does not answer. Is it still running?');
    }
    if (response.status === 503 && attempt < TRIES) {
      const seconds = Number(response.headers.get('Retry-After')) || 2;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    let answer;
    try {
      answer = await response.json();
    } catch {
      throw new Error(`The server refused the image (status ${response.status}).`);
    }
    const result = answer.images?.[0] ?? answer;
    if (result.error) throw new Error(`Not captioned: ${result.error}.`);
    return result.captions;
  }
}

function captionList(captions) {
  const list = element('ol');
  for (const {caption: text, log_prob: logProb} of captions) {
    const item = element('li', text || '(empty)');
    item.append(element('span', formatProbability(logProb), {title: 'probability of the caption'}));
    list.append(item);
  }
  return list;
}

function show(image, content) {
  image.card.lastElementChild.replaceWith(content);
}

options.addEventListener('submit', (event) => {
  event.preventDefault();
  images.forEach(caption);
});

// A beam yields no more captions than it is wide.
options.addEventListener('change', () => {
  const {search, beam_width: width, top} = options.elements;
  width.disabled = search.value === 'sample';
  const most = Number(width.value);
  if (!width.disabled && most >= 1 && Number(top.value) > most) top.value = most;
});

$('clear').addEventListener('click', () => {
  for (const image of images.splice(0)) {
    image.turn += 1;
    URL.revokeObjectURL(image.card.querySelector('img').src);
    image.card.remove();
  }
  report();
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
  addImages(event.dataTransfer.files);
});

const ready = start();
