package org.micromanager;

import mmcorej.CMMCore;

/** What the test host has of Micro-Manager's Studio. */
public interface Studio {
  CMMCore core();

  CMMCore getCMMCore();

  default String compat() {
    return "2.0.3";
  }
}
