'use strict';
(() => {
  const root = document.documentElement;
  const {config, charts} = JSON.parse(document.getElementById('drawings').textContent);

  // Charts. Expressions are interpreted, not compiled: the page's policy forbids eval.
  const draw = ([id, spec]) => {
    const place = document.getElementById('chart-' + id);
    const options = {actions: false, ast: true, config, renderer: 'svg', tooltip: {theme: 'custom', offsetY: 14}};
    return vegaEmbed(place, spec, options).catch((error) => {
      console.error('chart ' + id, error);
      place.insertAdjacentHTML('beforeend', '<p class="failed">This chart could not be drawn; the tables hold its numbers.</p>');
    });
  };
  Promise.all(Object.entries(charts).map(draw)).then(() => { root.dataset.drawn = Object.keys(charts).length; });

  // Tables: a click on a head sorts by its column, a second one the other way; cells without a value stay last.
  const compare = (a, b) => typeof a === 'number' && typeof b === 'number' ? a - b
    : String(a).localeCompare(String(b), 'en', {numeric: true});
  const valueOf = (cell) => {
    const given = cell.dataset.v;
    if (given !== undefined) return Number.isNaN(Number(given)) ? given : Number(given);
    return cell.classList.contains('number') ? null : cell.firstChild ? cell.firstChild.textContent : null;
  };
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
      const first = head.classList.contains('number') ? 'descending' : 'ascending';
      const other = first === 'ascending' ? 'descending' : 'ascending';
      const way = head.getAttribute('aria-sort') === first ? other : first;
      const sign = way === 'ascending' ? 1 : -1;
      heads.forEach((one) => one.setAttribute('aria-sort', one === head ? way : 'none'));
      const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
      rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  // Colour scheme: as the system says, or light, or dark; kept where the browser lets a file keep anything.
  const schemes = ['auto', 'light', 'dark'];
  const button = document.getElementById('scheme');
  const kept = () => { try { return localStorage.getItem('joyctl-scheme'); } catch { return null; } };
  const keep = (scheme) => { try { localStorage.setItem('joyctl-scheme', scheme); } catch { /* a private window */ } };
  const set = (scheme) => {
    if (scheme === 'auto') delete root.dataset.scheme; else root.dataset.scheme = scheme;
    button.textContent = scheme[0].toUpperCase() + scheme.slice(1);
    button.setAttribute('aria-label', 'Colour scheme: ' + scheme);
  };
  button.addEventListener('click', () => {
    const next = schemes[(schemes.indexOf(root.dataset.scheme || 'auto') + 1) % schemes.length];
    set(next);
    keep(next);
  });
  set(schemes.includes(kept()) ? kept() : 'auto');
  button.hidden = false;

  // On paper nothing is folded.
  addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
})();
