'use strict';
(() => {
  const reports = JSON.parse(document.getElementById('data').textContent);
  const DROPPED = 65535;
  const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

  /* ---------- small helpers ---------- */

  function element(name, settings = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(settings)) {
      if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
      else if (key in made && key !== 'style') made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  }

  function owners(text) {
    const raw = bytes(text);
    return Array.from({length: raw.length / 2}, (_, index) => raw[2 * index] + 256 * raw[2 * index + 1]);
  }

  function source(kind, text) {
    return `data:image/${kind};base64,${text}`;
  }

  function picture(entry, alt) {
    return element('img', {src: source('jpeg', entry.jpeg), alt, width: entry.width, height: entry.height});
  }

  function several(count, one, many) {
    return `${count} ${count === 1 ? one : many}`;
  }

  function choices(label, names, choose) {
    const buttons = names.map((name, index) =>
      element('button', {type: 'button', textContent: name, onclick: () => press(index)}));
    function press(index) {
      buttons.forEach((button, other) => button.setAttribute('aria-pressed', String(other === index)));
      choose(index);
    }
    const bar = element('div', {className: 'choices', role: 'group', 'aria-label': label}, ...buttons);
    return {bar, press};
  }

  /* A picture under a grid of patches, on a canvas that a pointer and the arrow keys move over. */
  function patchCanvas(image, rows, columns, label, paint, moved) {
    const canvas = element('canvas', {tabIndex: 0, role: 'img', 'aria-label': label});
    let at = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    canvas.style.aspectRatio = `${image.width} / ${image.height}`;  // drawing then changes no layout

    function draw() {
      const width = canvas.clientWidth || 320, sharp = Math.min(2, window.devicePixelRatio || 1);
      const height = width * image.height / image.width;
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
      const context = canvas.getContext('2d');
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      const cell = [canvas.width / columns, canvas.height / rows];
      paint(context, cell, at);
    }

    function go(place) {
      at = place;
      moved(at);
    }

    function point(event) {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * columns);
      const row = Math.floor((event.clientY - box.top) / box.height * rows);
      const place = Math.max(0, Math.min(rows - 1, row)) * columns + Math.max(0, Math.min(columns - 1, column));
      if (place !== at || event.type !== 'pointermove') go(place);
    }

    canvas.addEventListener('keydown', event => {
      const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
      if (!step) return;
      event.preventDefault();
      const column = at % columns + (Math.abs(step) === 1 ? step : 0);
      const place = at + step;
      if (column >= 0 && column < columns && place >= 0 && place < rows * columns) go(place);
    });
    canvas.addEventListener('focus', () => go(at));
    new ResizeObserver(draw).observe(canvas);
    return {canvas, draw, point, place: value => { at = value; draw(); }};
  }

  function loaded(entry, then) {
    const image = new Image();
    image.onload = () => then(image);
    image.src = source('jpeg', entry.jpeg);
  }

  /* Whole pixels, so that transparent neighbours leave no seam. */
  function fill(context, cell, patch, columns) {
    const [column, row] = [patch % columns, Math.floor(patch / columns)];
    const [left, right] = [column, column + 1].map(side => Math.round(side * cell[0]));
    const [top, bottom] = [row, row + 1].map(side => Math.round(side * cell[1]));
    context.fillRect(left, top, right - left, bottom - top);
  }

  function edges(context, cell, rows, columns, owner, colour, width, only) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const own = owner[row * columns + column];
        if (only !== undefined && own !== only) continue;
        const [left, top] = [column * cell[0], row * cell[1]];
        const [right, bottom] = [left + cell[0], top + cell[1]];
        const other = (r, c) => r < 0 || c < 0 || r >= rows || c >= columns ? -1 : owner[r * columns + c];
        if (other(row, column + 1) !== own) { context.moveTo(right, top); context.lineTo(right, bottom); }
        if (other(row + 1, column) !== own) { context.moveTo(left, bottom); context.lineTo(right, bottom); }
        if (only === undefined) continue;
        if (other(row, column - 1) !== own) { context.moveTo(left, top); context.lineTo(left, bottom); }
        if (other(row - 1, column) !== own) { context.moveTo(left, top); context.lineTo(right, top); }
      }
    }
    context.stroke();
  }

  /* ---------- tokens on a picture ---------- */

  function tokens(place, report) {
    const {rows, columns, stages} = report.tokens;
    const owner = stages.map(stage => owners(stage.owners));
    const told = element('p', {className: 'told', 'aria-live': 'polite'});
    let now = stages.length - 1, pointed = null, colours = [];

    loaded(report.tokens.picture, image => {
      const tiny = element('canvas', {width: columns, height: rows});
      const pen = tiny.getContext('2d');
      pen.imageSmoothingQuality = 'high';
      pen.drawImage(image, 0, 0, columns, rows);
      const pixels = pen.getImageData(0, 0, columns, rows).data;

      function meanColours() {
        const sums = new Map();
        owner[now].forEach((token, patch) => {
          const sum = sums.get(token) || [0, 0, 0, 0];
          for (let channel = 0; channel < 3; channel++) sum[channel] += pixels[4 * patch + channel];
          sum[3] += 1;
          sums.set(token, sum);
        });
        colours = owner[now].map(token => sums.get(token).slice(0, 3).map(value => Math.round(value / sums.get(token)[3])));
      }

      function paint(context, cell) {
        for (let patch = 0; patch < rows * columns; patch++) {
          const dropped = owner[now][patch] === DROPPED;
          context.fillStyle = dropped ? 'rgb(0 0 0 / 0.8)' : `rgb(${colours[patch].join(' ')} / 0.72)`;
          fill(context, cell, patch, columns);
        }
        const fine = Math.min(...cell) < 8 ? 0.5 : 1;
        edges(context, cell, rows, columns, owner[now], 'rgb(255 255 255 / 0.75)', fine);
        if (pointed !== null && owner[now][pointed] !== DROPPED) {
          edges(context, cell, rows, columns, owner[now], '#000', 6, owner[now][pointed]);
          edges(context, cell, rows, columns, owner[now], '#ffd43b', 3, owner[now][pointed]);
        }
      }

      function tell(patch) {
        pointed = patch;
        const token = owner[now][patch], of = owner[now].reduce((sum, other) => sum + (other === token), 0);
        const where = `patch in row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;
        told.textContent = token === DROPPED ? `The ${where} has no token any more: it was dropped.`
          : `Token ${token + 1} of ${stages[now].count} stands for ${several(of, 'patch', 'patches')}, among them the ${where}.`;
        grid.place(patch);
      }

      const label = 'The picture with the tokens on it. Arrow keys move from patch to patch; the text below says what a token stands for.';
      const grid = patchCanvas(image, rows, columns, label, paint, tell);
      grid.canvas.addEventListener('pointermove', grid.point);
      grid.canvas.addEventListener('pointerdown', grid.point);
      const names = stages.map(stage => `${stage.title}: ${stage.grid ? `${stage.grid[0]}×${stage.grid[1]} = ` : ''}${stage.count} tokens`);
      const {bar, press} = choices('Steps', names, index => {
        now = index;
        meanColours();
        if (pointed !== null) tell(pointed); else grid.draw();
      });
      place.append(bar, element('div', {className: 'views one'}, grid.canvas), told);
      told.textContent = 'No token is chosen yet.';
      press(now);
    });
  }

  /* ---------- attention ---------- */

  function heat(share) {
    const position = Math.min(share, 1) * (HEAT.length - 1), low = Math.min(Math.floor(position), HEAT.length - 2);
    return HEAT[low].map((value, channel) => Math.round(value + (position - low) * (HEAT[low + 1][channel] - value)));
  }

  function attention(place, report) {
    const {rows, columns} = report.tokens, models = ['dense', 'small'].map(name => {
      const model = report.attention[name];
      return {...model, title: name === 'dense' ? 'dense' : 'compressed', owner: owners(model.owners),
        asker: owners(model.askers), weights: bytes(model.rows)};
    });
    const told = element('p', {className: 'told', 'aria-live': 'polite'});
    const hasCls = models.every(model => model.cls);
    let asking = hasCls ? null : Math.floor(rows / 2) * columns + Math.floor(columns / 2);

    loaded(report.tokens.picture, image => {
      const grids = models.map(model => patchCanvas(image, rows, columns,
        `Attention of the ${model.title} model over the picture. Arrow keys choose the patch that asks.`,
        (context, cell) => {
          const row = asking === null ? 0 : model.asker[asking] + (model.cls ? 1 : 0);
          for (let patch = 0; patch < rows * columns; patch++) {
            const token = model.owner[patch], gone = token === DROPPED || asking !== null && model.asker[asking] === DROPPED;
            const share = gone ? 0 : model.weights[row * model.tokens + token] / 255;
            context.fillStyle = `rgb(${heat(share).join(' ')} / ${0.55 + 0.3 * share})`;
            fill(context, cell, patch, columns);
          }
          if (asking !== null && model.asker[asking] !== DROPPED) {
            edges(context, cell, rows, columns, model.asker, '#000', 6, model.asker[asking]);
            edges(context, cell, rows, columns, model.asker, '#4dd2ff', 3, model.asker[asking]);
          }
        }, ask));
      grids.forEach(grid => grid.canvas.addEventListener('pointerdown', grid.point));

      function ask(patch) {
        asking = patch;
        if (cls) cls.setAttribute('aria-pressed', String(patch === null));
        told.textContent = patch === null ? 'CLS asks.'
          : `The patch in row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1} asks.`;
        grids.forEach(grid => patch === null ? grid.draw() : grid.place(patch));
      }

      const cls = hasCls ? element('button', {type: 'button', textContent: 'CLS', onclick: () => ask(null)}) : null;
      if (cls) place.append(element('div', {className: 'choices'}, cls));
      place.append(element('div', {className: 'views'}, ...models.map((model, index) =>
        element('figure', {}, element('figcaption', {textContent: `${model.title}, ${several(model.tokens, 'token', 'tokens')}`}),
          grids[index].canvas))), told);
      ask(asking);
    });
  }

  /* ---------- predictions ---------- */

  function thumbs(place, report, caption, show) {
    const buttons = report.pictures.map((entry, index) => element('button', {type: 'button', onclick: () => press(index)},
      picture(entry, ''), element('span', {textContent: caption(entry)})));
    function press(index) {
      buttons.forEach((button, other) => button.setAttribute('aria-pressed', String(other === index)));
      show(report.pictures[index]);
    }
    place.append(element('ol', {className: 'thumbs', 'aria-label': 'Pictures, the most different first'},
      ...buttons.map(button => element('li', {}, button))));
    return press;
  }

  function percent(share) {
    return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  }

  function guesses(place, report) {
    const view = element('div', {className: 'guesses'});
    const list = (title, guesses, kind) => element('section', {}, element('h3', {textContent: title}),
      element('ol', {}, ...guesses.map(([name, share]) => element('li', {},
        element('span', {className: 'number'}, element('span', {textContent: name}), element('span', {textContent: percent(share)})),
        element('span', {className: `bar ${kind}`, 'aria-hidden': 'true'}, element('span', {style: `width:${100 * share}%`}))))));
    const press = thumbs(place, report, entry => `${entry.changed ? 'other guess' : 'same guess'}, ${percent(entry.difference)} apart`, entry => {
      view.replaceChildren(
        element('figure', {}, picture(entry, `The picture ${entry.name}`),
          element('figcaption', {textContent: entry.name + (entry.truth ? `: ${entry.truth}` : '')})),
        list('dense', entry.dense, 'dense'), list('compressed', entry.small, 'small'));
    });
    place.append(view);
    press(0);
  }

  /* A pane whose left part shows the dense model's layer and whose right part the compressed model's. */
  function slidingPane(place, name) {
    const pane = element('div', {className: 'pane'});
    const slider = element('input', {type: 'range', className: 'slider', min: 0, max: 100, value: 50,
      'aria-label': 'Border between the dense model on the left and the compressed one on the right, in percent of the width',
      oninput: () => pane.style.setProperty('--cut', `${slider.value}%`)});
    const follow = event => {
      if (event.type === 'pointermove' && !event.buttons) return;
      const box = pane.getBoundingClientRect();
      slider.value = Math.round(100 * (event.clientX - box.left) / box.width);
      slider.dispatchEvent(new Event('input'));
    };
    pane.addEventListener('pointerdown', follow);
    pane.addEventListener('pointermove', follow);
    const told = element('p', {className: 'soft', 'aria-live': 'polite'});
    place.append(pane, slider, told);
    return {pane, told, fill(...layers) {
      pane.replaceChildren(...layers, element('span', {className: 'line'}),
        element('span', {className: 'side at-left', textContent: 'dense'}),
        element('span', {className: 'side at-right', textContent: 'compressed'}));
    }};
  }

  function pixels(place, report) {
    let entry = report.pictures[0];
    const options = element('div', {className: 'options'}), shown = {};
    const layer = (png, side) => element('img', {className: `layer ${side}`, src: source('png', png), alt: '', draggable: false});
    const press = thumbs(place, report, one => `${percent(one.difference)} of the pixels differ`, one => { entry = one; show(); });
    const view = slidingPane(place);
    function box(name, text) {
      shown[name] = element('input', {type: 'checkbox', onchange: show});
      options.append(element('label', {}, shown[name], text));
    }
    box('apart', 'mark the pixels that differ');
    if (report.pictures.some(one => one.truth)) box('truth', 'show the labels instead');
    box('bare', 'hide the predictions');
    function show() {
      const layers = [picture(entry, `The picture ${entry.name} under the maps of classes`)];
      if (shown.truth && shown.truth.checked && entry.truth) layers.push(layer(entry.truth, ''));
      else if (!shown.bare.checked) layers.push(layer(entry.dense, 'left'), layer(entry.small, 'right'));
      if (shown.apart.checked) layers.push(layer(entry.apart, ''));
      view.fill(...layers);
      view.told.textContent = `${entry.name}: ${percent(entry.difference)} of the pixels differ.`;
    }
    place.append(options, element('ul', {className: 'legend', 'aria-label': 'Colours of the classes'},
      ...report.legend.map(([name, colour]) => element('li', {}, element('i', {style: `background:${colour}`}), name))));
    press(0);
  }

  function found(place, report) {
    const colours = {kept: '#4dabf7', lost: '#ff6b6b', won: '#51cf66'}, space = 'http://www.w3.org/2000/svg';
    const svg = (name, settings, ...children) => {
      const made = document.createElementNS(space, name);
      for (const [key, value] of Object.entries(settings)) made.setAttribute(key, value);
      made.append(...children);
      return made;
    };
    const layer = (entry, boxes, side) => svg('svg', {class: `layer ${side}`, viewBox: `0 0 ${entry.width} ${entry.height}`,
      'aria-hidden': 'true'}, ...boxes.map(one => {
      const [left, top, right, bottom] = one.box.map((value, index) => value * (index % 2 ? entry.height : entry.width));
      const colour = colours[one.state];
      return svg('g', {}, svg('rect', {x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top),
        fill: 'none', stroke: colour, 'stroke-width': one.state === 'kept' ? 2 : 4, 'stroke-dasharray': one.state === 'lost' ? '8 5' : 'none'}),
        svg('text', {x: left + 3, y: Math.max(13, top - 4), fill: colour, stroke: '#000', 'stroke-width': 3, 'paint-order': 'stroke', 'font-size': 13},
          `${one.name} ${one.score.toFixed(2)}`));
    }));
    let view = null;
    const press = thumbs(place, report, entry => `${entry.lost} lost, ${entry.won} won`, entry => {
      view = view || slidingPane(place);
      view.fill(picture(entry, `The picture ${entry.name} under the boxes`), layer(entry, entry.dense, 'left'), layer(entry, entry.small, 'right'));
      view.told.textContent = `${entry.name}: ${several(entry.lost, 'box', 'boxes')} lost, ${entry.won} won.`;
    });
    press(0);
    place.append(element('ul', {className: 'legend', 'aria-label': 'Colours of the boxes'},
      ...[['kept', 'found by both'], ['lost', 'found by the dense model alone'], ['won', 'found by the compressed model alone']]
        .map(([state, text]) => element('li', {}, element('i', {style: `background:${colours[state]}`}), text))));
  }

  const parts = {tokens, attention, guesses, pixels, found};
  for (const place of document.querySelectorAll('[data-part]')) {
    parts[place.dataset.part](place, reports[Number(place.dataset.report)]);
  }
})();
