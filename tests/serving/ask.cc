// Runs every signature of a SavedModel that takes strings named "text".
// Usage: ask FOLDER TEXT...; prints "signature \t output \t row \t value ...", one line per output and row.
#include <iomanip>
#include <iostream>
#include <string>
#include <unordered_set>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/tstring.h"

int main(int count, char** arguments) {
  tensorflow::SavedModelBundle bundle;
  auto status = tensorflow::LoadSavedModel({}, {}, arguments[1], std::unordered_set<std::string>{"serve"}, &bundle);
  if (!status.ok()) return std::cerr << status << "\n", 1;

  tensorflow::Tensor texts(tensorflow::DT_STRING, {count - 2});
  for (int i = 2; i < count; ++i) texts.vec<tensorflow::tstring>()(i - 2) = arguments[i];

  std::cout << std::setprecision(9);
  for (const auto& [name, signature] : bundle.GetSignatures()) {
    const auto input = signature.inputs().find("text");
    if (input == signature.inputs().end()) continue;
    std::vector<std::string> names, fetches;
    for (const auto& [output, info] : signature.outputs()) {
      names.push_back(output);
      fetches.push_back(info.name());
    }
    std::vector<tensorflow::Tensor> outputs;
    status = bundle.GetSession()->Run({{input->second.name(), texts}}, fetches, {}, &outputs);
    if (!status.ok()) return std::cerr << status << "\n", 1;
    for (size_t o = 0; o < outputs.size(); ++o) {
      const int64_t rows = outputs[o].dim_size(0), width = rows ? outputs[o].NumElements() / rows : 0;
      for (int64_t row = 0; row < rows; ++row) {
        std::cout << name << "\t" << names[o] << "\t" << row;
        for (int64_t i = row * width; i < (row + 1) * width; ++i) {
          std::cout << "\t";
          if (outputs[o].dtype() == tensorflow::DT_STRING) std::cout << outputs[o].flat<tensorflow::tstring>()(i);
          else std::cout << outputs[o].flat<float>()(i);
        }
        std::cout << "\n";
      }
    }
  }
}
