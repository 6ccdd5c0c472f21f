"""The one script of every report, inside the page: sliders, large pictures, tables that sort.

The page's policy allows this text alone, by its hash, and nothing from outside. A page reads well without it: what
needs the script is added by it, or shown only once it runs.
"""

import base64
import hashlib

SCRIPT = """
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("scripted");

  function all(selector) { return Array.from(document.querySelectorAll(selector)); }

  function button(words, className, act) {
    var made = document.createElement("button");
    made.type = "button";
    made.className = className;
    made.append(words);
    made.addEventListener("click", act);
    return made;
  }

  // Sliders: a range input lies over two stacked pictures, and its value is where the upper one is cut.
  var sliders = all(".slider");
  sliders.forEach(function (slider) {
    var range = slider.querySelector("input[type=range]");
    function cut() { slider.style.setProperty("--at", range.value + "%"); }
    range.hidden = false;
    range.addEventListener("input", cut);
    cut();
  });
  var choice = document.querySelector("header");
  if (sliders.length && choice) {
    choice.append(button("Before and after side by side", "choice", function (event) {
      var apart = root.classList.toggle("apart");
      event.currentTarget.textContent = "Before and after " + (apart ? "on top of each other" : "side by side");
    }));
  }

  // Large pictures: click one, or press Enter on it; arrow keys go on to the next, Escape closes.
  var pictures = all("img.zoomable"), at = 0;
  var box = document.createElement("dialog"), large = new Image(), words = document.createElement("p");
  box.className = "large";
  box.setAttribute("aria-label", "a picture, large");
  function fit() {
    var shape = large.naturalWidth / large.naturalHeight || 1;
    large.style.width = Math.floor(Math.min(innerWidth * 0.94, innerHeight * 0.8 * shape)) + "px";
  }
  function show(number) {
    at = (number + pictures.length) % pictures.length;
    var one = pictures[at];
    large.className = one.classList.contains("small") ? "small" : "";
    large.src = one.src;
    large.alt = one.alt;
    words.textContent = one.alt + " (" + (at + 1) + " of " + pictures.length + ")";
    if (!box.open) { box.showModal(); }
    fit();
  }
  large.addEventListener("load", fit);
  addEventListener("resize", fit);
  box.addEventListener("keydown", function (event) {
    var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); show(at + step); }
  });
  box.addEventListener("click", function (event) {
    if (event.target === box || event.target === large) { box.close(); }
  });
  var turn = document.createElement("div");
  turn.append(
    button("\\u2190", "", function () { show(at - 1); }),
    button("close", "", function () { box.close(); }),
    button("\\u2192", "", function () { show(at + 1); })
  );
  ["the picture before this one", "", "the next picture"].forEach(function (name, place) {
    if (name) { turn.children[place].setAttribute("aria-label", name); }
  });
  turn.children[1].autofocus = true;
  box.append(large, words, turn);
  if (pictures.length) { document.body.append(box); }
  pictures.forEach(function (picture, number) {
    var slider = picture.closest(".slider");
    if (slider && picture.closest("figure").classList.contains("before")) {
      // The range input takes clicks on the pictures below it, so a button in their corner opens them.
      var open = button("\\u2922", "open", function () { show(number); });
      open.setAttribute("aria-label", "enlarge: " + picture.alt);
      open.tabIndex = -1;
      slider.append(open);
    }
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.addEventListener("click", function () { show(number); });
    picture.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(number); }
    });
  });

  // Tables: a heading sorts by its column, once more the other way round; empty cells stay last.
  function key(row, column) {
    var cell = row.cells[column], text = cell ? cell.dataset.value || cell.textContent.trim() : "";
    if (text === "" || text === "-") { return null; }
    return isNaN(text) ? text : Number(text);
  }
  function order(one, other) {
    if (typeof one === "number" && typeof other === "number") { return one - other; }
    return String(one).localeCompare(String(other), undefined, { numeric: true });
  }
  all("table.sortable").forEach(function (table) {
    var heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
    heads.forEach(function (head, column) {
      var sort = button("", "sort", function () {
        var sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        var rows = Array.from(body.rows).map(function (row) { return [key(row, column), row]; });
        rows.sort(function (a, b) {
          if (a[0] === null || b[0] === null) { return (a[0] === null) - (b[0] === null); }
          return sign * order(a[0], b[0]);
        });
        rows.forEach(function (pair) { body.append(pair[1]); });
      });
      sort.append.apply(sort, Array.from(head.childNodes));
      head.append(sort);
    });
  });
})();
"""

SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""as a policy names it"""
