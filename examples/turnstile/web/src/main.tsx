import { start } from "@pregon/example-kit";
import { App } from "./App.js";
import "./turnstile.css";

void start("turnstile", App);
