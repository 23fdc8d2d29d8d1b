import { start } from "@pregon/example-kit";
import { App } from "./App.js";
import "./marketplace.css";

void start("marketplace", App);
