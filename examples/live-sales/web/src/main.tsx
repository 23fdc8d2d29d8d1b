import { start } from "@pregon/example-kit";
import { App } from "./App.js";
import "./live-sales.css";

void start("live-sales", App);
